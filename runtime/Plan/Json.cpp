//===- Json.cpp - a strict JSON tree --------------------------------------===//

#include "runtime/Plan/Json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace moe::plan::json {
namespace {

/// Elements that a container of a plan mostly has room for without growing.
constexpr size_t kUsualSize = 10;

/// Receives nlohmann's parse events and builds the tree. Every handler returns
/// false to stop the parser after `message` was set.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
public:
  bool null() override { return add(Node{nullptr}); }
  bool boolean(bool value) override { return add(Node{value}); }

  bool number_integer(number_integer_t value) override {
    if (value < -kLargestInteger || value > kLargestInteger)
      return tooLarge(std::to_string(value));
    return add(Node{static_cast<int64_t>(value)});
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(kLargestInteger))
      return tooLarge(std::to_string(value));
    return add(Node{static_cast<int64_t>(value)});
  }

  bool number_float(number_float_t value, const string_t &text) override {
    // The parser turns integers that no 64-bit type holds into doubles.
    if (text.find_first_of(".eE") == string_t::npos)
      return tooLarge(text);
    if (!std::isfinite(value))
      return fail("the number " + text + " is not finite");
    return add(Node{value});
  }

  bool string(string_t &value) override { return add(Node{std::move(value)}); }

  bool binary(binary_t &) override { return fail("binary data"); }

  bool start_object(std::size_t) override { return open(Node{Object()}); }
  bool start_array(std::size_t) override { return open(Node{Array()}); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t &text) override {
    Object &object = std::get<Object>(stack.back()->value);
    if (object.size() == kMostMembers)
      return fail("more than " + std::to_string(kMostMembers) + " keys");
    for (const Member &member : object)
      if (member.key == text) {
        object.push_back({std::move(text), {}});
        keyIsOpen = true;
        return fail("duplicate key");
      }
    if (object.empty())
      object.reserve(kUsualSize);
    object.push_back({std::move(text), {}});
    keyIsOpen = true;
    return true;
  }

  bool parse_error(std::size_t, const std::string &,
                   const nlohmann::detail::exception &error) override {
    std::string_view text = error.what();
    if (size_t end = text.find("] "); end != std::string_view::npos)
      text.remove_prefix(end + 2); // "[json.exception.parse_error.101] "
    return fail("not valid JSON: " + std::string(text));
  }

  Node root;
  std::string message;

private:
  bool fail(const std::string &reason) {
    message = path() + ": " + reason;
    return false;
  }

  bool tooLarge(const std::string &number) {
    return fail("the integer " + number +
                " is beyond 2^53 = " + std::to_string(kLargestInteger));
  }

  Node *place(Node node) {
    if (stack.empty()) {
      root = std::move(node);
      return &root;
    }
    Node &parent = *stack.back();
    if (Array *array = std::get_if<Array>(&parent.value)) {
      if (array->empty())
        array->reserve(kUsualSize);
      array->push_back(std::move(node));
      return &array->back();
    }
    Node &slot = std::get<Object>(parent.value).back().node;
    slot = std::move(node);
    keyIsOpen = false;
    return &slot;
  }

  bool add(Node node) {
    place(std::move(node));
    return true;
  }

  bool open(Node node) {
    if (stack.size() == kDeepestNesting)
      return fail("nested deeper than " + std::to_string(kDeepestNesting) +
                  " levels");
    // A container does not move while it is open: its parent grows only after
    // it was closed.
    stack.push_back(place(std::move(node)));
    return true;
  }

  bool close() {
    stack.pop_back();
    return true;
  }

  /// The path of the value that comes next or that is being built.
  std::string path() const {
    std::string text = "$";
    for (size_t i = 0; i < stack.size(); ++i) {
      bool innermost = i + 1 == stack.size();
      if (const Array *array = std::get_if<Array>(&stack[i]->value))
        text += "[" + std::to_string(array->size() - (innermost ? 0 : 1)) + "]";
      else if (!innermost || keyIsOpen)
        text += "." + std::get<Object>(stack[i]->value).back().key;
    }
    return text;
  }

  std::vector<Node *> stack;
  bool keyIsOpen = false; ///< the innermost object has a key without value
};

} // namespace

Result<Node> parse(std::string_view text) {
  // The parser takes a NUL byte for the end of the text.
  if (size_t at = text.find('\0'); at != std::string_view::npos)
    return Error{"$: not valid JSON: there is a NUL byte at " +
                 std::to_string(at)};
  TreeBuilder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return Error{builder.message};
  return std::move(builder.root);
}

void appendQuoted(std::string &out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  auto isSpecial = [](char c) {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  };
  out += '"';
  for (;;) {
    const auto special = static_cast<size_t>(
        std::find_if(text.begin(), text.end(), isSpecial) - text.begin());
    out.append(text.substr(0, special));
    if (special == text.size())
      break;
    const char c = text[special];
    text.remove_prefix(special + 1);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  out += '"';
}

bool isUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    auto byte = [&](size_t k) {
      return i + k < text.size() ? static_cast<uint8_t>(text[i + k]) : 0;
    };
    uint8_t lead = byte(0);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4)
      return false;
    for (size_t k = 1; k < length; ++k)
      if ((byte(k) & 0xC0) != 0x80)
        return false;
    // Overlong forms, surrogates, and code points past U+10FFFF.
    uint8_t second = byte(1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
      return false;
    i += length;
  }
  return true;
}

} // namespace moe::plan::json
