# Configures and builds moe-run with the compiler off and LLVM out of reach, then
# trains with it and looks for LLVM among its libraries. The plan was made with
#   moe-plan --model examples/models/qwen3-30b-a3b.json --reduce layers=2,\
#     hidden=16,heads=2,kv_heads=1,head_dim=8,experts=4,top_k=2,\
#     moe_intermediate=8,vocabulary=256 --layout pp=2,ep=2 --microbatches 2 \
#     --seq 16 --capacity-factor max -o test/data/plans/qwen3-reduced.json

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
run(${BUILD}/bin/moe-run ${SOURCE}/test/data/plans/qwen3-reduced.json
    --data ${SOURCE}/README.md --steps 2)
run(ldd ${BUILD}/bin/moe-run)
if(output MATCHES "LLVM|MLIR")
  message(FATAL_ERROR "moe-run needs LLVM:\n${output}")
endif()
