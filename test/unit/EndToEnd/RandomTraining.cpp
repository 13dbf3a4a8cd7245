#include "test/unit/EndToEnd/RandomTraining.h"

#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "test/unit/EndToEnd/SmallModels.h"

#include <algorithm>

using namespace moe;

namespace {

/// Names of the values that microbatches keep from forward to backward.
std::vector<std::string> keptValues(const plan::Plan &plan) {
  std::vector<std::string> names;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      if (program.phase == plan::Phase::forward)
        for (plan::ValueIndex output : program.outputs)
          if (const plan::Value &value = stage.values[output];
              value.placement == plan::Placement::slot)
            names.push_back(value.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

class Draw {
public:
  explicit Draw(uint32_t seed) : random(seed) {}

  Result<std::optional<test::RandomTraining>> run() {
    drawRequest();
    request.overwrite = false;
    Result<driver::PlanAnswer> kept = driver::makePlan(request);
    request.overwrite = true;
    if (!kept)
      return orNothing(kept.error());
    test::RandomTraining made;
    made.kept = std::move(kept->plan);
    // What this model has nothing of is drawn again.
    const driver::PlanRequest asKept = request;
    for (int tries = 0; tries < 12; ++tries) {
      request = asKept;
      if (Status drawn = drawTreatment(made.kept); !drawn)
        return drawn.error();
      Result<driver::PlanAnswer> treated = driver::makePlan(request);
      if (!treated && isKnown(treated.error().message))
        continue;
      if (!treated)
        return Error{describe() + ": " + treated.error().message};
      made.treated = std::move(treated->plan);
      made.text = describe();
      return std::optional(std::move(made));
    }
    return std::optional<test::RandomTraining>();
  }

private:
  template <typename T> T pick(const std::vector<T> &choices) {
    return choices[random() % choices.size()];
  }
  bool oneIn(unsigned count) { return random() % count == 0; }

  /// What one may ask for that a schedule, a model or a layer does not have.
  static bool isKnown(const std::string &message) {
    for (const char *begin :
         {"schedule ", "schedule: ", "recompute: '", "offload: '"})
      if (message.starts_with(begin))
        return true;
    for (const char *part :
         {"cannot leave", "leave nothing to choose", "use fewer stages a rank",
          "nothing to freeze", "freeze both or neither"})
      if (message.find(part) != std::string::npos)
        return true;
    return false;
  }
  Result<std::optional<test::RandomTraining>> orNothing(const Error &error) {
    if (isKnown(error.message))
      return std::optional<test::RandomTraining>();
    return Error{describe() + ": " + error.message};
  }

  void drawRequest() {
    family = pick(test::kFamilies);
    const auto &generators = schedule::generators();
    const schedule::GeneratorInfo &generator =
        generators[random() % generators.size()];
    bool isAuto = oneIn(16);
    int64_t pipeline = pick<int64_t>({1, 2, 2, 2, 3, 4});
    int64_t stages = pipeline * std::max<int64_t>(generator.stagesPerRank, 1);
    layers = stages + pick<int64_t>({0, 1, 2});
    request =
        test::request(family, test::randomReduction(family, layers, random));
    request.schedule = isAuto ? "auto" : generator.name;
    request.layout.pipeline = pipeline;
    request.layout.expert = pipeline == 4 ? 1 : pick<int64_t>({1, 2, 2, 4});
    request.layout.data = request.layout.expert > 1 ? 1 : pick<int64_t>({1, 2});
    request.layout.microbatches =
        pipeline * pick<int64_t>({1, 2, 2}) + (oneIn(4) ? 1 : 0);
    request.layout.microbatchSize = pick<int64_t>({1, 1, 2});
    request.layout.sequenceLength = pick<int64_t>({1, 5, 12});
    request.dtype = oneIn(2) ? DType::bf16 : DType::f32;
    if (oneIn(4))
      request.frozen = pick<std::string>(
          {"*", "embedding", "embedding,layers.0", "layers.0-1", "head",
           "layers.*.moe.router*", "layers.*.moe.experts", "layers.0,head"});
  }

  /// Some of `names`, and how they are scoped.
  std::string someOf(const std::vector<std::string> &names, unsigned most) {
    std::string text;
    for (size_t count = 1 + random() % most; count > 0; --count)
      text += (text.empty() ? "" : ",") + pick(names);
    return text;
  }

  /// Some of the items of a list with leads of their own.
  std::string withLeads(const std::string &list) {
    std::string text;
    for (char c : list + ',') {
      if (c == ',' && oneIn(3))
        text += "@lead" + std::to_string(random() % 3);
      text += c;
    }
    text.pop_back();
    return text;
  }

  Status drawTreatment(const plan::Plan &kept) {
    std::vector<std::string> targets, values = keptValues(kept);
    for (const policy::Target &target : policy::targets())
      for (const char *scope :
           {"", "", "", "@layers.0", "@layers.1-2", "@stage0", "@rank0-1"})
        targets.push_back(std::string(target.name) + scope);
    bool isTrained = request.frozen != "*" && !values.empty();
    if (isTrained && !oneIn(4))
      request.recompute = someOf(oneIn(3) ? values : targets, 3);
    if (isTrained && !oneIn(3))
      request.offload = withLeads(someOf(oneIn(3) ? targets : values, 6));
    if (isTrained && request.schedule != "auto" && oneIn(8))
      MOE_RETURN_IF_ERROR(leaveToPlanner(kept));
    request.keepHandles =
        !request.recompute.empty() && request.recompute != "auto" && oneIn(3);
    request.offloadLead = pick<int64_t>({0, 1, 1, 2});
    bool isOneEach =
        static_cast<int64_t>(kept.stages.size()) == request.layout.pipeline;
    if (oneIn(4))
      request.partition = isOneEach ? drawShares() : "auto";
    return {};
  }

  /// With a budget between what fits and what keeps everything.
  Status leaveToPlanner(const plan::Plan &kept) {
    driver::PlanRequest full = request;
    full.offload.clear();
    full.recompute = "full";
    Result<driver::PlanAnswer> least = driver::makePlan(full);
    if (!least)
      return isKnown(least.error().message)
                 ? Status()
                 : Status(Error{describe() + ": " + least.error().message});
    int64_t low = test::largestArena(least->plan),
            high = test::largestArena(kept);
    request.budgetBytes = kept.machine.reserveBytes + low +
                          (high - low) * pick<int64_t>({1, 2, 4, 6}) / 8;
    request.recompute = "auto";
    request.offload = oneIn(2) ? "auto" : "";
    return {};
  }

  std::string drawShares() {
    std::vector<int64_t> shares(static_cast<size_t>(request.layout.pipeline),
                                1);
    for (int64_t left = layers - request.layout.pipeline; left > 0; --left)
      ++shares[random() % shares.size()];
    std::string text;
    for (int64_t share : shares)
      text += (text.empty() ? "" : ",") + std::to_string(share);
    return text;
  }

  std::string describe() const {
    const plan::Layout &layout = request.layout;
    std::string text = family + " --reduce " + request.reductions +
                       " --layout pp=" + std::to_string(layout.pipeline) +
                       ",ep=" + std::to_string(layout.expert) +
                       ",dp=" + std::to_string(layout.data) +
                       " --microbatches " +
                       std::to_string(layout.microbatches) + " --seq " +
                       std::to_string(layout.sequenceLength) + " --schedule " +
                       request.schedule;
    for (const auto &[option, value] : {std::pair("freeze", request.frozen),
                                        {"recompute", request.recompute},
                                        {"offload", request.offload},
                                        {"partition", request.partition}})
      if (!value.empty())
        text += std::string(" --") + option + " " + value;
    if (request.keepHandles)
      text += " --keep-handles";
    if (request.budgetBytes)
      text += " --budget " + std::to_string(request.budgetBytes);
    return text;
  }

  std::mt19937 random;
  std::string family;
  int64_t layers = 0;
  driver::PlanRequest request;
};

} // namespace

Result<std::optional<test::RandomTraining>> test::drawTraining(uint32_t seed) {
  return Draw(seed).run();
}
