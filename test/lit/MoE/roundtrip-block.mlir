// RUN: moe-opt %s --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

// CHECK: moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
// CHECK: moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
// CHECK: moe.parameter @experts.w : tensor<2x16x16xf32> expert #moe.initializer<zeros> {decay = false, trainable = false}
moe.parameter @experts.w : tensor<2x16x16xf32> expert #moe.initializer<zeros> {decay = false, trainable = false}

// CHECK: moe.parameter @w.copy : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @w}
moe.parameter @w.copy : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @w}

// CHECK-LABEL: moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:hidden]]: tensor<8x16xbf16>) {
// CHECK: moe.yield %{{.*}} : tensor<8x16xbf16> saved(%[[X]], %{{.*}}, %{{.*}} : tensor<8x16xbf16>, tensor<8x1xf32>, tensor<8x16xbf16>)
// CHECK: backward(%[[D:d_hidden]]: tensor<8x16xbf16>, %{{.*}}: tensor<8x16xbf16>, %{{.*}}: tensor<8x1xf32>, %[[N:.*]]: tensor<8x16xbf16>) {
// CHECK: moe.yield %{{.*}} : tensor<8x16xbf16> saved(%[[D]], %[[N]] : tensor<8x16xbf16>, tensor<8x16xbf16>)
// CHECK: weight_grad(%{{.*}}: tensor<8x16xbf16>, %{{.*}}: tensor<8x16xbf16>) {
// CHECK: moe.yield{{$}}
moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %n, %i = moe.rms_norm %x, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  %y = moe.linear %n, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16> saved(%x, %i, %n : tensor<8x16xbf16>, tensor<8x1xf32>, tensor<8x16xbf16>)
}
backward(%d_y: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %i: tensor<8x1xf32>, %n: tensor<8x16xbf16>) {
  %d_n = moe.linear_input_grad %d_y, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %d_x = moe.rms_norm_input_grad %d_n, %x, %i, @norm : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>) -> tensor<8x16xbf16>
  moe.yield %d_x : tensor<8x16xbf16> saved(%d_y, %n : tensor<8x16xbf16>, tensor<8x16xbf16>)
}
weight_grad(%d_y: tensor<8x16xbf16>, %n: tensor<8x16xbf16>) {
  moe.linear_weight_grad %d_y, %n, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
  moe.yield
}

// A block before differentiation, and one without any program.
// CHECK-LABEL: moe.block @head head inputs(hidden, labels) outputs(loss) attributes {note = "forward only"}
// CHECK-NEXT: forward(%hidden: tensor<8x64xf32>, %labels: tensor<8xi32>) {
// CHECK-NOT: backward
moe.block @head head inputs(hidden, labels) outputs(loss) attributes {note = "forward only"}
forward(%x: tensor<8x64xf32>, %labels: tensor<8xi32>) {
  %loss, %lse = moe.cross_entropy %x, %labels : (tensor<8x64xf32>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  moe.yield %loss : tensor<1xf32>
}

// CHECK: moe.block @further head inputs(hidden, labels, labels_2) outputs(loss)
moe.block @further head inputs(hidden, labels, labels_2) outputs(loss)

// CHECK: moe.block @empty mtp inputs(hidden, tokens) outputs(hidden)
moe.block @empty mtp inputs(hidden, tokens) outputs(hidden)
