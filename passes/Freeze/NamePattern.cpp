//===- NamePattern.cpp - names of blocks and parameters -------------------===//

#include "passes/Freeze/NamePattern.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace moe;

FailureOr<NamePattern> NamePattern::parse(StringRef text) {
  NamePattern pattern;
  SmallVector<StringRef> parts;
  text.trim().split(parts, '.');
  for (StringRef word : parts) {
    Part part;
    part.text = word.str();
    auto [first, last] = word.split('-');
    bool hasDash = word.contains('-');
    part.isRange = hasDash && !first.getAsInteger(10, part.first) &&
                   !last.getAsInteger(10, part.last);
    if (word.empty() || (part.isRange && part.first > part.last))
      return failure();
    pattern.parts.push_back(std::move(part));
  }
  return pattern;
}

/// Whether `text` is `glob`, whose `*` stand for any characters.
static bool matchesGlob(StringRef glob, StringRef text) {
  if (glob.empty())
    return text.empty();
  if (glob.front() != '*')
    return !text.empty() && text.front() == glob.front() &&
           matchesGlob(glob.drop_front(), text.drop_front());
  for (size_t skipped = 0; skipped <= text.size(); ++skipped)
    if (matchesGlob(glob.drop_front(), text.drop_front(skipped)))
      return true;
  return false;
}

bool NamePattern::matches(const Part &part, StringRef text) {
  if (!part.isRange)
    return matchesGlob(part.text, text);
  uint64_t number = 0;
  return !text.getAsInteger(10, number) && number >= part.first &&
         number <= part.last;
}

bool NamePattern::matches(StringRef name) const {
  SmallVector<StringRef> words;
  name.split(words, '.');
  if (words.size() < parts.size())
    return false;
  for (auto [part, word] : zip(parts, words))
    if (!matches(part, word))
      return false;
  return true;
}
