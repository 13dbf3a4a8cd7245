//===- ReportPage.h - the parts of the report's page ------------*- C++ -*-===//
//
// compiler/Export/report/* as text; the build writes the definitions.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <string_view>

namespace moe::report {

extern const std::string_view kPageHtml;   ///< with {{title}}, {{style}}, ...
extern const std::string_view kPageStyle;  ///< CSS
extern const std::string_view kPageScript; ///< JavaScript

} // namespace moe::report
