# Copies the page RAW to MADE without what a web site of LLVM would expand:
# links to its own source tree and the mark of a table of contents.
file(READ ${RAW} text)
string(REGEX REPLACE "\\[source\\]\\([^)]*\\)\n+" "" text "${text}")
string(REGEX REPLACE "\\[TOC\\]\n+" "" text "${text}")
# Ends in exactly one line break.
string(REGEX REPLACE "\n+$" "\n" text "${text}")
file(WRITE ${MADE} "${text}")
