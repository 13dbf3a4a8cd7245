# Configures and builds moe-run with the compiler off and LLVM out of reach, then
# trains with it and looks for LLVM among its libraries.

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output
                  ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\nfailed:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} -G Ninja -S ${SOURCE} -B ${BUILD}
    -DMOE_BUILD_COMPILER=OFF -DMOE_BUILD_TESTS=OFF
    -DCMAKE_DISABLE_FIND_PACKAGE_MLIR=ON -DCMAKE_DISABLE_FIND_PACKAGE_LLVM=ON
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_C_COMPILER=${C_COMPILER})
run(${CMAKE_COMMAND} --build ${BUILD} --target moe-run)
run(${BUILD}/bin/moe-run ${SOURCE}/test/data/plans/qwen3-1f1b.json
    --data ${SOURCE}/README.md --steps 2)
run(ldd ${BUILD}/bin/moe-run)
if(output MATCHES "LLVM|MLIR")
  message(FATAL_ERROR "moe-run needs LLVM:\n${output}")
endif()
