//===- Targets.cpp - saved values by the names users give them ------------===//

#include "passes/Policies/Targets.h"

#include "dialects/MoE/IR/MoE.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"

#include <numeric>

using namespace mlir;
using namespace moe;
using policy::Choice;
using policy::Scope;

namespace {

/// The name of an op taken apart: "layers.3.moe.route" is part "moe.route" of
/// number 3 of "layers". Ops of no layer and no module are their own part.
struct OpPlace {
  Scope::Kind kind = Scope::Kind::everywhere; ///< layers, mtp, or neither
  int64_t number = -1;
  StringRef block; ///< "layers.3."
  StringRef part;
};

OpPlace placeOf(StringRef name) {
  for (auto [prefix, kind] : {std::pair("layers.", Scope::Kind::layers),
                              std::pair("mtp.", Scope::Kind::mtp)}) {
    StringRef rest = name;
    int64_t number = 0;
    if (!rest.consume_front(prefix) || rest.consumeInteger(10, number) ||
        !rest.consume_front("."))
      continue;
    return {kind, number, name.drop_back(rest.size()), rest};
  }
  return {Scope::Kind::everywhere, -1, "", name};
}

/// A value that some stage keeps.
struct Kept {
  pipe::StageOp stage;
  int64_t stageNumber, rank;
  Value value;
  std::string name;
  OpPlace place;    ///< of `name`
  StringRef opPart; ///< of the op that makes the value; empty: it enters
};

/// What is kept, and how far the model reaches.
struct Inventory {
  explicit Inventory(ModuleOp module) {
    for (pipe::StageOp stage : module.getOps<pipe::StageOp>()) {
      note(Scope::Kind::ranks, stage.getRank());
      auto yield =
          cast<pipe::YieldOp>(stage.getForward().front().getTerminator());
      for (Value value : yield.getKept()) {
        Kept &entry = kept.emplace_back();
        entry.stage = stage;
        entry.stageNumber = stages;
        entry.rank = stage.getRank();
        entry.value = value;
        entry.name = getPlanName(stage, value);
      }
      for (Operation &op : stage.getForward().front()) {
        OpPlace place = placeOf(getOpName(&op));
        if (place.kind != Scope::Kind::everywhere)
          note(place.kind, place.number);
        opNames.insert(getOpName(&op));
      }
      note(Scope::Kind::stages, stages++);
    }
    // The names do not move any more.
    for (Kept &entry : kept) {
      wholeNames.insert(entry.name);
      entry.place = placeOf(entry.name);
      if (Operation *op = entry.value.getDefiningOp())
        entry.opPart = placeOf(getOpName(op)).part;
    }
  }

  void note(Scope::Kind kind, int64_t number) {
    int64_t &known = count[static_cast<size_t>(kind)];
    known = std::max(known, number + 1);
  }
  int64_t countOf(Scope::Kind kind) const {
    return count[static_cast<size_t>(kind)];
  }

  SmallVector<Kept> kept;
  llvm::StringSet<> opNames;
  llvm::StringSet<> wholeNames; ///< of kept values
  int64_t stages = 0;
  int64_t count[5] = {}; ///< by Scope::Kind
};

StringRef nameOf(Scope::Kind kind) {
  switch (kind) {
  case Scope::Kind::layers:
    return "layers";
  case Scope::Kind::mtp:
    return "multi-token prediction modules";
  case Scope::Kind::stages:
    return "stages";
  default:
    return "ranks";
  }
}

bool isInScope(const Kept &kept, const Scope &scope) {
  int64_t number = -1;
  switch (scope.kind) {
  case Scope::Kind::everywhere:
    return true;
  case Scope::Kind::layers:
  case Scope::Kind::mtp:
    if (kept.place.kind != scope.kind)
      return false;
    number = kept.place.number;
    break;
  case Scope::Kind::stages:
    number = kept.stageNumber;
    break;
  case Scope::Kind::ranks:
    number = kept.rank;
    break;
  }
  return scope.first <= number && number <= scope.last;
}

bool matches(const Kept &kept, const Choice &choice,
             const policy::Target *target, const Inventory &inventory) {
  // "lm_head" is that of the model, where it has one, not those of modules.
  if (!target)
    return kept.name == choice.name ||
           (kept.place.part == choice.name &&
            (choice.scope.kind == kept.place.kind ||
             !inventory.wholeNames.contains(choice.name)));
  if (kept.opPart.empty() || !policy::covers(*target, kept.opPart))
    return false;
  return target->needs.empty() ||
         inventory.opNames.contains(
             (kept.place.block +
              StringRef(target->needs.data(), target->needs.size()))
                 .str());
}

/// Why `choice` covers nothing.
LogicalResult reportEmpty(ModuleOp module, const Choice &choice,
                          const Inventory &inventory, StringRef technique) {
  InFlightDiagnostic error = module.emitError()
                             << technique << ": '" << policy::print(choice)
                             << "': ";
  const policy::Target *target = policy::findTarget(choice.name);
  auto exists = [&](const Kept &kept) {
    return matches(kept, choice, target, inventory);
  };
  if (llvm::any_of(inventory.kept, exists))
    return error << "nothing of it is kept there";
  if (!target)
    return error << policy::unknownName(choice.name);
  return error << "no stage keeps anything of the target, which covers "
               << target->summary;
}

} // namespace

std::string moe::getPlanName(pipe::StageOp stage, Value value) {
  if (auto result = dyn_cast<OpResult>(value))
    return getResultName(result);
  unsigned number = cast<BlockArgument>(value).getArgNumber();
  StringRef role = cast<StringAttr>(stage.getInputs()[number]).getValue();
  return role == "hidden" ? "input" : role.str();
}

FailureOr<SmallVector<CoveredValue>>
moe::resolveChoices(ModuleOp module, ArrayRef<Choice> choices,
                    StringRef technique) {
  Inventory inventory(module);
  // For each choice the kept values that it covers.
  SmallVector<SmallVector<size_t>> covered(choices.size());
  for (auto [choice, values] : llvm::zip(choices, covered)) {
    const Scope &scope = choice.scope;
    if (scope.kind != Scope::Kind::everywhere &&
        scope.last >= inventory.countOf(scope.kind))
      return module.emitError()
             << technique << ": '" << policy::print(choice)
             << "': the model has " << inventory.countOf(scope.kind) << " "
             << nameOf(scope.kind) << ", counted from 0";
    const policy::Target *target = policy::findTarget(choice.name);
    for (auto [number, kept] : llvm::enumerate(inventory.kept))
      if (isInScope(kept, scope) && matches(kept, choice, target, inventory))
        values.push_back(number);
    if (values.empty())
      return reportEmpty(module, choice, inventory, technique);
  }

  SmallVector<size_t> widestFirst(choices.size());
  std::iota(widestFirst.begin(), widestFirst.end(), 0);
  llvm::sort(widestFirst, [&](size_t a, size_t b) {
    return std::pair(covered[b].size(), a) < std::pair(covered[a].size(), b);
  });
  SmallVector<std::optional<size_t>> owner(inventory.kept.size());
  SmallVector<std::optional<int64_t>> leads(inventory.kept.size());
  for (size_t choice : widestFirst) {
    llvm::SmallSetVector<size_t, 4> others;
    bool hasOwn = false;
    for (size_t number : covered[choice]) {
      if (owner[number])
        others.insert(*owner[number]);
      else
        hasOwn = true;
      owner[number] = owner[number].value_or(choice);
      if (choices[choice].lead)
        leads[number] = choices[choice].lead;
    }
    if (hasOwn || choices[choice].lead)
      continue;
    InFlightDiagnostic remark = module.emitRemark()
                                << technique << ": '"
                                << policy::print(choices[choice])
                                << "' adds nothing to";
    for (size_t other : others)
      remark << (other == others.front() ? " '" : ", '")
             << policy::print(choices[other]) << "'";
  }
  SmallVector<CoveredValue> result;
  for (auto [kept, choice, lead] : llvm::zip(inventory.kept, owner, leads))
    if (choice)
      result.push_back({kept.stage, kept.value, kept.name, *choice,
                        policy::findTarget(choices[*choice].name) == nullptr,
                        lead});
  return result;
}
