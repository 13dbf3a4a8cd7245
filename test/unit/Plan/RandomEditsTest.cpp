//===- RandomEditsTest.cpp ------------------------------------------------===//
//
// Edits of good plans in places chosen at random: what comes out is refused
// with a path, or is a plan like any other.
//
//===----------------------------------------------------------------------===//

#include "NaiveStreams.h"
#include "RandomPlan.h"
#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>

namespace moe::plan {
namespace {

using nlohmann::ordered_json;
using testing::StartsWith;

class Editor {
public:
  explicit Editor(unsigned seed) : random(seed) {}

  void edit(ordered_json &document) {
    std::vector<ordered_json *> nodes;
    collect(document, nodes);
    ordered_json &node = *nodes[draw(nodes.size())];
    switch (draw(5)) {
    case 0: // a neighbour's value
      node = *nodes[draw(nodes.size())];
      break;
    case 1:
      if (node.is_array() && !node.empty())
        node.erase(draw(node.size()));
      break;
    case 2:
      if (node.is_array() && !node.empty())
        node.push_back(node[draw(node.size())]);
      break;
    case 3:
      if (node.is_array() && !node.empty())
        std::swap(node[draw(node.size())], node[draw(node.size())]);
      break;
    default:
      if (node.is_number_integer())
        changeNumber(node);
      else if (node.is_string())
        node = kNames[draw(std::size(kNames))];
      break;
    }
  }

private:
  static constexpr const char *kNames[] = {
      "forward",   "backward",     "backward_input",
      "overlap",   "weight_grad",  "run",
      "send",      "wait_send",    "receive",
      "fixed",     "slot",         "compute",
      "load",      "collect_loss", "expert_communication",
      "transient", "labels",       "op0.forward",
      "workspace", "update",       ""};

  size_t draw(size_t bound) { return random() % bound; }

  static void collect(ordered_json &node, std::vector<ordered_json *> &nodes) {
    nodes.push_back(&node);
    if (node.is_structured())
      for (ordered_json &child : node)
        collect(child, nodes);
  }

  void changeNumber(ordered_json &node) {
    int64_t number = node.get<int64_t>();
    const int64_t changed[] = {number + 1,   number - 1, -1,     0,
                               number + 256, number * 2, 1 << 20};
    node = changed[draw(std::size(changed))];
  }

  std::mt19937 random;
};

void expectHandled(const ordered_json &document, int &accepted, int &refused) {
  Result<Plan> plan = parse(document.dump());
  if (!plan.ok()) {
    ++refused;
    ASSERT_THAT(plan.error().message, StartsWith("$"));
    return;
  }
  ++accepted;
  Result<Plan> again = parse(print(*plan));
  ASSERT_TRUE(again.ok()) << again.error().message;
  ASSERT_TRUE(*again == *plan);
  ASSERT_FALSE(racesSomewhere(*plan));
}

TEST(RandomEdits, AreRefusedOrMakeAPlan) {
  Editor editor(11);
  int accepted = 0, refused = 0;
  for (unsigned i = 0; i < 1500; ++i) {
    ordered_json document;
    if (i % 3 == 0)
      document = ordered_json::parse(tinyText());
    else if (i % 3 == 1)
      document = ordered_json::parse(overlapText());
    else
      document = ordered_json::parse(print(makeRandomPlan(4000 + i % 100)));
    for (unsigned edits = 1 + i % 2; edits > 0; --edits)
      editor.edit(document);
    expectHandled(document, accepted, refused);
    if (HasFatalFailure())
      return;
  }
  EXPECT_GT(accepted, 50);
  EXPECT_GT(refused, 500);
}

} // namespace
} // namespace moe::plan
