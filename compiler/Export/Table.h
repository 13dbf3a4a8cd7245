//===- Table.h - aligned columns of text ------------------------*- C++ -*-===//
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace moe::report {

/// Rows of cells, printed with two spaces between columns that are as wide as
/// their widest cell. The last column, when it is left-aligned, wraps at spaces
/// so that lines stay within a width.
class Table {
public:
  enum class Align : unsigned char { left, right };

  void addColumn(std::string heading, Align align);
  /// One cell for each column.
  void addRow(std::vector<std::string> cells);
  /// Whole lines below the last row, printed as they are.
  void addBelow(std::string lines);

  /// Headings (unless all are empty) and rows, each line indented and ended
  /// with a newline, without trailing spaces.
  std::string print(size_t indent, size_t width) const;

private:
  struct Column {
    std::string heading;
    Align align;
  };
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> below; ///< each row
};

/// Splits text at spaces into lines of at most `width` characters; a longer
/// word is split behind commas, and where it has none, gets a line of its own.
/// At least one line.
std::vector<std::string> wrap(const std::string &text, size_t width);

/// "a, b, c" in lines of at most `width` characters, split between items only;
/// no line where there are none.
std::vector<std::string> wrapList(const std::vector<std::string> &items,
                                  size_t width);

} // namespace moe::report
