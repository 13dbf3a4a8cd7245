//===- Completion.cpp - the subcommand "completion" -----------------------===//

#include "tools/moe-plan/Completion.h"

#include <CLI/CLI.hpp>

using namespace moe;

/// "--model --reduce ...": all options by their long names, subcommands first.
static std::string wordsOf(const CLI::App &app) {
  std::string words;
  auto add = [&](const std::string &word) {
    words += (words.empty() ? "" : " ") + word;
  };
  for (const CLI::App *subcommand : app.get_subcommands({}))
    add(subcommand->get_name());
  for (const CLI::Option *option : app.get_options())
    for (const std::string &name : option->get_lnames())
      add("--" + name);
  return words;
}

std::string moe::bashCompletion(const CLI::App &app) {
  const std::string &name = app.get_name();
  std::string function = "_" + name;
  for (char &c : function)
    if (c == '-')
      c = '_';
  std::string script = "# bash completion of " + name + "\n" + function +
                       "() {\n"
                       "  local word=${COMP_WORDS[COMP_CWORD]} words\n"
                       "  case ${COMP_WORDS[1]} in\n";
  for (const CLI::App *subcommand : app.get_subcommands({}))
    script += "  " + subcommand->get_name() + ") words=\"" +
              wordsOf(*subcommand) + "\" ;;\n";
  script += "  *) words=\"" + wordsOf(app) +
            "\" ;;\n"
            "  esac\n"
            "  if [[ $word == -* || $COMP_CWORD -eq 1 ]]; then\n"
            "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
            "  fi\n"
            "}\n"
            "complete -o default -F " +
            function + " " + name + "\n";
  return script;
}
