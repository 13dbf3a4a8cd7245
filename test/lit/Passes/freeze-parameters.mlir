// RUN: moe-opt %s --pass-pipeline='builtin.module(moe-freeze-parameters{parameters=table,layers.0},moe-differentiate)' --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --pass-pipeline='builtin.module(moe-freeze-parameters{parameters=*},moe-differentiate)' | FileCheck %s --check-prefix=ALL
// RUN: moe-opt %s --pass-pipeline='builtin.module(moe-freeze-parameters{parameters=layers.1-1.w},moe-differentiate)' | FileCheck %s --check-prefix=MIDDLE
// RUN: not moe-opt %s --moe-freeze-parameters='parameters=layers.5' 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not moe-opt %s --moe-freeze-parameters='parameters=layers..w' 2>&1 | FileCheck %s --check-prefix=PATTERN

// UNKNOWN: nothing to freeze is called 'layers.5': neither a parameter nor a block
// PATTERN: 'layers..w' is no pattern of names to freeze

// Nothing is trained at or before the first layer: neither block has a backward,
// keeps anything or needs a gradient of its input. The second is detached; its
// norm needs no input gradient, hence keeps what the weight gradient reads only.

// CHECK: moe.parameter @table {{.*}}trainable = false
// CHECK: moe.parameter @layers.0.w {{.*}}trainable = false
// CHECK: moe.parameter @layers.1.w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>{{$}}
// A copy follows its original.
// CHECK: moe.parameter @copy {{.*}}trainable = false
// CHECK: moe.block @embedding
// CHECK-NEXT: forward
// CHECK-NEXT: moe.embedding
// CHECK-NEXT: moe.yield %{{.*}} : tensor<8x16xbf16>{{$}}
// CHECK-NEXT: }{{$}}
// CHECK: moe.block @layers.0 decoder inputs(hidden) outputs(hidden) detached
// CHECK-NEXT: forward
// CHECK-NEXT: moe.linear
// CHECK-NEXT: moe.yield %{{.*}} : tensor<8x16xbf16>{{$}}
// CHECK-NEXT: }{{$}}
// CHECK: moe.block @layers.1 decoder inputs(hidden) outputs(hidden) detached
// CHECK: moe.yield %{{.*}} : tensor<8x16xbf16> saved(%{{.*}} : tensor<8x16xbf16>)
// CHECK-NEXT: }
// CHECK-NEXT: backward(%[[D:[^:]*]]: tensor<8x16xbf16>, %[[X:[^:]*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.yield saved(%[[D]], %[[X]] : tensor<8x16xbf16>, tensor<8x16xbf16>)
// CHECK: weight_grad
// CHECK-NEXT: moe.linear_weight_grad
// CHECK: moe.block @layers.2 decoder inputs(hidden) outputs(hidden){{$}}
// CHECK: moe.linear_input_grad

// With everything frozen, only forwards are left.
// ALL-NOT: backward
// ALL-NOT: saved

// In between, gradients pass through what is not trained.
// MIDDLE: moe.block @layers.1 decoder inputs(hidden) outputs(hidden){{$}}
// MIDDLE-NEXT: forward
// MIDDLE-NEXT: moe.linear
// MIDDLE-NEXT: moe.yield %{{.*}} : tensor<8x16xbf16>{{$}}
// MIDDLE-NEXT: }
// MIDDLE-NEXT: backward
// MIDDLE-NEXT: %[[D:.*]] = moe.linear_input_grad
// MIDDLE-NEXT: moe.yield %[[D]] : tensor<8x16xbf16>{{$}}
// MIDDLE-NEXT: }
// MIDDLE-NEXT: weight_grad() {
// MIDDLE-NEXT: moe.yield{{$}}

moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @layers.0.w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @layers.1.w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @layers.2.w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @copy : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @table}
moe.block @embedding embedding inputs(tokens) outputs(hidden)
forward(%tokens: tensor<8xi32>) {
  %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
  moe.yield %x : tensor<8x16xbf16>
}
moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %y = moe.linear %x, @layers.0.w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}
moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %y = moe.linear %x, @layers.1.w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}
moe.block @layers.2 decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %y = moe.linear %x, @layers.2.w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}
