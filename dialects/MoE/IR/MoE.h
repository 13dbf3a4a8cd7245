//===- MoE.h - everything of the moe dialect ---------------------*- C++
//-*-===//
#pragma once

#include "dialects/MoE/IR/MoEDialect.h"
#include "dialects/MoE/IR/MoEInterfaces.h"
#include "dialects/MoE/IR/MoEOps.h"
