#include "compiler/Export/Table.h"

#include <algorithm>
#include <cassert>

namespace moe::report {

/// Fills lines of at most `width` characters with `pieces`, which bring the
/// spaces between them along; a longer piece gets a line of its own.
static std::vector<std::string> fill(const std::vector<std::string> &pieces,
                                     size_t width) {
  auto lengthOf = [](const std::string &text) {
    return text.find_last_not_of(' ') + 1;
  };
  std::vector<std::string> lines(1);
  for (const std::string &piece : pieces) {
    if (!lines.back().empty() && lines.back().size() + lengthOf(piece) > width)
      lines.emplace_back();
    lines.back() += piece;
  }
  for (std::string &line : lines)
    line.erase(lengthOf(line));
  return lines;
}

std::vector<std::string> wrap(const std::string &text, size_t width) {
  std::vector<std::string> pieces;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(' ', begin), text.size());
    // A word too long for any line, such as a list of targets, breaks behind
    // commas.
    for (bool isLong = end - begin > width; isLong;) {
      size_t next = text.find(',', begin) + 1;
      if (next == 0 || next >= end)
        break;
      pieces.push_back(text.substr(begin, next - begin));
      begin = next;
    }
    pieces.push_back(text.substr(begin, end - begin) + " ");
    begin = end + 1;
  }
  return fill(pieces, width);
}

std::vector<std::string> wrapList(const std::vector<std::string> &items,
                                  size_t width) {
  std::vector<std::string> pieces;
  for (const std::string &item : items)
    pieces.push_back(item + (&item == &items.back() ? "" : ", "));
  return items.empty() ? std::vector<std::string>() : fill(pieces, width);
}

void Table::addColumn(std::string heading, Align align) {
  columns.push_back({std::move(heading), align});
}

void Table::addRow(std::vector<std::string> cells) {
  assert(cells.size() == columns.size());
  rows.push_back(std::move(cells));
  below.emplace_back();
}

void Table::addBelow(std::string lines) {
  assert(!rows.empty());
  below.back() += lines;
}

std::string Table::print(size_t indent, size_t width) const {
  if (columns.empty())
    return "";
  std::vector<size_t> widths;
  size_t before = indent; // width of all columns but the last
  for (size_t c = 0; c < columns.size(); ++c) {
    size_t widest = columns[c].heading.size();
    for (const auto &row : rows)
      widest = std::max(widest, row[c].size());
    widths.push_back(widest);
    if (c + 1 < columns.size())
      before += widest + 2;
  }
  // A last column of a few characters reads worse than a line too long.
  constexpr size_t narrowest = 20;
  size_t lastWidth = std::max(width > before ? width - before : 0, narrowest);

  std::string text;
  auto emit = [&](const std::vector<std::string> &cells) {
    bool wraps = columns.back().align == Align::left;
    std::vector<std::string> last =
        wraps ? wrap(cells.back(), lastWidth) : std::vector{cells.back()};
    for (size_t l = 0; l < last.size(); ++l) {
      std::string line(indent, ' ');
      for (size_t c = 0; c < columns.size(); ++c) {
        bool isLast = c + 1 == columns.size();
        std::string cell = isLast ? last[l] : l == 0 ? cells[c] : "";
        std::string fill(widths[c] > cell.size() ? widths[c] - cell.size() : 0,
                         ' ');
        line += columns[c].align == Align::right ? fill + cell : cell + fill;
        if (!isLast)
          line += "  ";
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
  };
  std::vector<std::string> headings;
  bool anyHeading = false;
  for (const Column &column : columns) {
    headings.push_back(column.heading);
    anyHeading |= !column.heading.empty();
  }
  if (anyHeading)
    emit(headings);
  for (size_t r = 0; r < rows.size(); ++r) {
    emit(rows[r]);
    text += below[r];
  }
  return text;
}

} // namespace moe::report
