#include "compiler/Cost/StrictJson.h"

#include <set>
#include <vector>

namespace moe::cost {

Result<Json> parseStrictJson(std::string_view text, const std::string &what) {
  // The parser keeps the last of two equal keys; the callback finds them.
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  auto watch = [&](int, Json::parse_event_t event, Json &parsed) {
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      std::string key = parsed.get<std::string>();
      if (!keys.back().insert(key).second && repeated.empty())
        repeated = key;
    }
    return true;
  };
  Json document = Json::parse(text.begin(), text.end(), watch,
                              /*allow_exceptions=*/false);
  if (document.is_discarded())
    return Error{what + ": not valid JSON"};
  if (!document.is_object())
    return Error{what + ": must be a JSON object"};
  if (!repeated.empty())
    return Error{what + ": field \"" + repeated +
                 "\" appears twice in one object"};
  return document;
}

} // namespace moe::cost
