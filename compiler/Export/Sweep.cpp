#include "compiler/Export/Sweep.h"

#include "compiler/Export/Phrases.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace moe::report {

namespace {

constexpr size_t kWidth = 120;
using Align = Table::Align;

/// "64 x 1": microbatches, and sequences of each.
std::string microbatchesOf(const SweepPoint &point) {
  return std::to_string(point.microbatches) + " x " +
         std::to_string(point.microbatchSize);
}

/// Whether points differ in their microbatches, so that a column tells of them.
bool differInMicrobatches(const std::vector<SweepPoint> &points) {
  return std::any_of(points.begin(), points.end(), [&](const SweepPoint &each) {
    return microbatchesOf(each) != microbatchesOf(points.front());
  });
}

std::vector<std::string> cellsOf(const SweepPoint &point,
                                 bool tellsMicrobatches) {
  std::vector<std::string> cells = {point.layout};
  if (tellsMicrobatches)
    cells.push_back(microbatchesOf(point));
  cells.insert(cells.end(), {point.schedule, formatBytes(point.budgetBytes)});
  if (!point.error.empty()) {
    cells.insert(cells.end(), {"-", "-", "-", "-", "no plan: " + point.error});
    return cells;
  }
  cells.push_back(formatNanoseconds(point.stepNs));
  cells.push_back(formatCount(static_cast<int64_t>(point.tokensPerSecond)));
  cells.push_back(formatPercent(point.bubble));
  cells.push_back(formatBytes(point.deviceBytes));
  cells.emplace_back(point.isOnFront ? "* front"
                     : point.fits    ? "fits"
                                     : "does not fit");
  return cells;
}

std::vector<std::string> headings(bool tellsMicrobatches) {
  std::vector<std::string> texts = {"layout"};
  if (tellsMicrobatches)
    texts.emplace_back("microbatches");
  texts.insert(texts.end(), {"schedule", "budget", "step", "tokens/s/device",
                             "bubble", "memory", ""});
  return texts;
}

std::string escape(const std::string &text) {
  std::string safe;
  for (char c : text)
    switch (c) {
    case '<':
      safe += "&lt;";
      break;
    case '>':
      safe += "&gt;";
      break;
    case '&':
      safe += "&amp;";
      break;
    case '"':
      safe += "&quot;";
      break;
    default:
      safe += c;
    }
  return safe;
}

/// A round number of at most `most` steps that covers `range`.
double stepOf(double range, int most) {
  double raw = range / most;
  double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (power * factor >= raw)
      return power * factor;
  return power * 10;
}

/// The plot, as SVG: memory to the right, speed upwards.
class Plot {
public:
  explicit Plot(const std::vector<SweepPoint> &points) {
    for (const SweepPoint &point : points)
      if (point.error.empty())
        drawn.push_back(&point);
  }

  std::string run() {
    if (drawn.empty())
      return "<p>No plan could be made.</p>\n";
    for (const SweepPoint *point : drawn) {
      mostX = std::max(mostX, gib(*point));
      mostY = std::max(mostY, point->tokensPerSecond);
    }
    mostX *= 1.05;
    mostY *= 1.08;
    if (mostX <= 0 || mostY <= 0)
      return "<p>The plans take no memory or no time.</p>\n";
    svg = "<svg viewBox=\"0 0 820 460\" role=\"img\" aria-label=\"tokens per "
          "second and device against device memory\">\n";
    drawAxes();
    drawFront();
    for (const SweepPoint *point : drawn)
      drawPoint(*point);
    return svg + "</svg>\n";
  }

private:
  static double gib(const SweepPoint &point) {
    return static_cast<double>(point.deviceBytes) / 0x1p30;
  }
  double x(double value) const { return 80 + 720 * value / mostX; }
  double y(double value) const { return 410 - 390 * value / mostY; }
  static std::string number(double value) { return printNumber(value, "%.1f"); }

  void drawText(double atX, double atY, const char *anchor,
                const std::string &text) {
    svg += "<text x=\"" + number(atX) + "\" y=\"" + number(atY) +
           "\" text-anchor=\"" + anchor + "\">" + text + "</text>\n";
  }
  void drawLine(double fromX, double fromY, double toX, double toY,
                const char *style) {
    svg += "<line x1=\"" + number(fromX) + "\" y1=\"" + number(fromY) +
           "\" x2=\"" + number(toX) + "\" y2=\"" + number(toY) + "\" class=\"" +
           style + "\"/>\n";
  }

  void drawAxes() {
    double step = stepOf(mostX, 10);
    for (int i = 0; i * step <= mostX; ++i) {
      drawLine(x(i * step), y(0), x(i * step), y(mostY), "grid");
      drawText(x(i * step), 428, "middle", printNumber(i * step, "%g"));
    }
    step = stepOf(mostY, 8);
    for (int i = 0; i * step <= mostY; ++i) {
      drawLine(x(0), y(i * step), x(mostX), y(i * step), "grid");
      drawText(72, y(i * step) + 4, "end",
               formatCount(static_cast<int64_t>(i * step)));
    }
    drawText(440, 452, "middle", "device memory in use, GiB");
    drawText(80, 14, "start", "tokens per second and device");
  }

  void drawFront() {
    std::vector<const SweepPoint *> front;
    for (const SweepPoint *point : drawn)
      if (point->isOnFront)
        front.push_back(point);
    std::sort(front.begin(), front.end(),
              [](const SweepPoint *a, const SweepPoint *b) {
                return a->deviceBytes < b->deviceBytes;
              });
    if (front.size() < 2)
      return;
    svg += "<polyline class=\"front\" points=\"";
    for (const SweepPoint *point : front)
      svg += number(x(gib(*point))) + "," + number(y(point->tokensPerSecond)) +
             " ";
    svg += "\"/>\n";
  }

  void drawPoint(const SweepPoint &point) {
    svg +=
        "<circle cx=\"" + number(x(gib(point))) + "\" cy=\"" +
        number(y(point.tokensPerSecond)) + "\" r=\"5\" class=\"" +
        (point.isOnFront ? "best"
         : point.fits    ? "fits"
                         : "beyond") +
        "\"><title>" +
        escape(point.layout + ", " + microbatchesOf(point) + ", " +
               point.schedule + ", budget " + formatBytes(point.budgetBytes) +
               ": " + formatNanoseconds(point.stepNs) + ", " +
               formatBytes(point.deviceBytes)) +
        "</title></circle>\n";
  }

  std::vector<const SweepPoint *> drawn;
  double mostX = 0, mostY = 0;
  std::string svg;
};

constexpr const char *kStyle = R"(
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --grid: #ddd;
  --best: #0a7d4f; --fits: #3b73c4; --beyond: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c;
  --grid: #33373d; --best: #4cc38a; --fits: #7aa7ec; --beyond: #ee7b6d; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
svg { width: 100%; height: auto; } text { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--grid); stroke-width: 1; }
.front { fill: none; stroke: var(--best); stroke-width: 2; }
.best { fill: var(--best); } .fits { fill: var(--fits); }
.beyond { fill: none; stroke: var(--beyond); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--grid); }
td:not(:last-child) { white-space: nowrap; }
tr.front-row td { font-weight: 600; }
)";

} // namespace

SweepPoint pointOfLayout(const plan::Layout &layout) {
  SweepPoint point;
  point.layout = "pp=" + std::to_string(layout.pipeline) +
                 ",ep=" + std::to_string(layout.expert) +
                 ",dp=" + std::to_string(layout.data);
  point.microbatches = layout.microbatches;
  point.microbatchSize = layout.microbatchSize;
  return point;
}

SweepPoint sweepPoint(const plan::Plan &plan) {
  const plan::Layout &layout = plan.layout;
  SweepPoint point = pointOfLayout(layout);
  point.schedule = plan.schedule;
  point.budgetBytes = plan.machine.budgetBytes;
  point.fits = plan.prediction.fits;
  point.stepNs = plan.prediction.stepNs;
  point.bubble = plan.prediction.bubble;
  point.tokensPerSecond =
      tokensPerSecond(plan) /
      static_cast<double>(layout.pipeline * layout.expert * layout.data);
  for (const plan::Rank &rank : plan.ranks)
    point.deviceBytes = std::max(point.deviceBytes,
                                 rank.arenaBytes + plan.machine.reserveBytes);
  return point;
}

void markFront(std::vector<SweepPoint> &points) {
  auto isBetter = [](const SweepPoint &a, const SweepPoint &b) {
    bool noWorse = a.tokensPerSecond >= b.tokensPerSecond &&
                   a.deviceBytes <= b.deviceBytes;
    return noWorse && (a.tokensPerSecond > b.tokensPerSecond ||
                       a.deviceBytes < b.deviceBytes);
  };
  for (SweepPoint &point : points)
    point.isOnFront = point.error.empty() && point.fits &&
                      std::none_of(points.begin(), points.end(),
                                   [&](const SweepPoint &other) {
                                     return other.error.empty() && other.fits &&
                                            isBetter(other, point);
                                   });
}

std::string printSweep(const std::vector<SweepPoint> &points) {
  const bool tellsMicrobatches = differInMicrobatches(points);
  const std::vector<std::string> columns = headings(tellsMicrobatches);
  const size_t figures = tellsMicrobatches ? 3 : 2; // from this column on
  Table table;
  for (size_t i = 0; i < columns.size(); ++i)
    table.addColumn(columns[i], i >= figures && i + 1 < columns.size()
                                    ? Align::right
                                    : Align::left);
  for (const SweepPoint &point : points)
    table.addRow(cellsOf(point, tellsMicrobatches));
  return table.print(0, kWidth);
}

std::string sweepJson(const std::vector<SweepPoint> &points) {
  nlohmann::ordered_json document;
  document["version"] = 1;
  document["points"] = nlohmann::ordered_json::array();
  for (const SweepPoint &point : points) {
    nlohmann::ordered_json made;
    made["layout"] = point.layout;
    made["microbatches"] = point.microbatches;
    made["microbatch_size"] = point.microbatchSize;
    made["schedule"] = point.schedule;
    made["budget_bytes"] = point.budgetBytes;
    if (!point.error.empty()) {
      made["error"] = point.error;
    } else {
      made["fits"] = point.fits;
      made["step_ns"] = point.stepNs;
      made["tokens_per_second_per_device"] = point.tokensPerSecond;
      made["bubble"] = point.bubble;
      made["device_bytes"] = point.deviceBytes;
      made["on_front"] = point.isOnFront;
    }
    document["points"].push_back(std::move(made));
  }
  return document.dump(1, ' ', false,
                       nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

std::string sweepPage(const std::vector<SweepPoint> &points,
                      const std::string &title) {
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta "
      "charset=\"utf-8\"><title>" +
      escape(title) + "</title><style>" + kStyle +
      "</style></head>\n<body><h1>" + escape(title) +
      "</h1>\n<p>Each point is a plan. The line joins those that "
      "no other plan beats in both speed and memory; hollow "
      "points do not fit their budget.</p>\n";
  page += Plot(points).run();
  const bool tellsMicrobatches = differInMicrobatches(points);
  page += "<table><thead><tr>";
  for (const std::string &heading : headings(tellsMicrobatches))
    page += "<th>" + escape(heading) + "</th>";
  page += "</tr></thead><tbody>\n";
  for (const SweepPoint &point : points) {
    page += point.isOnFront ? "<tr class=\"front-row\">" : "<tr>";
    for (const std::string &cell : cellsOf(point, tellsMicrobatches))
      page += "<td>" + escape(cell) + "</td>";
    page += "</tr>\n";
  }
  return page + "</tbody></table></body></html>\n";
}

} // namespace moe::report
