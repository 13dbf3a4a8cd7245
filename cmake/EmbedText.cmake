# Writes a C++ source that defines texts: run with -DOUTPUT=FILE.cpp
# -DINCLUDE=HEADER -DNAMESPACE=NAME -DTEXTS="kName=FILE;...".
set(code "#include \"${INCLUDE}\"\n\nnamespace ${NAMESPACE} {\n")
foreach(text ${TEXTS})
  string(REGEX MATCH "^([^=]+)=(.*)$" matched "${text}")
  set(name ${CMAKE_MATCH_1})
  file(READ "${CMAKE_MATCH_2}" content)
  string(APPEND code "\nconst std::string_view ${name} = R\"MOE_TEXT(${content})MOE_TEXT\";\n")
endforeach()
string(APPEND code "\n} // namespace ${NAMESPACE}\n")
file(WRITE "${OUTPUT}" "${code}")
