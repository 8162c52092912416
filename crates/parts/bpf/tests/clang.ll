; What `clang -O2 -target bpf` makes of this C program, by hand. `clang.o` beside it is of:
;   llc -opaque-pointers -march=bpfel -filetype=obj clang.ll -o clang.o
;
;   struct { __u32 kind, key, value, entries, parts; } counts SEC("maps") = { 1, 8, 8, 16, 1 };
;   SEC("trace/split") long count(struct context *context) {
;       __u64 owner = context->owner, size = context->size;
;       __u64 *value = map_lookup_elem(&counts, &owner);
;       if (value) __sync_fetch_and_add(value, size);
;       else map_update_elem(&counts, &owner, &size, 0);
;       return 0;
;   }
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpfel"

@counts = dso_local global [5 x i32] [i32 1, i32 8, i32 8, i32 16, i32 1], section "maps", align 4

define dso_local i64 @count(ptr nocapture readonly %context) section "trace/split" {
entry:
  %owner = alloca i64, align 8
  %size = alloca i64, align 8
  %owner_at = getelementptr i8, ptr %context, i64 16
  %o = load i64, ptr %owner_at, align 8
  store i64 %o, ptr %owner, align 8
  %size_at = getelementptr i8, ptr %context, i64 40
  %s = load i64, ptr %size_at, align 8
  store i64 %s, ptr %size, align 8
  %lookup = inttoptr i64 1 to ptr
  %value = call ptr %lookup(ptr @counts, ptr %owner)
  %null = icmp eq ptr %value, null
  br i1 %null, label %new, label %known
known:
  %old = atomicrmw add ptr %value, i64 %s seq_cst
  br label %out
new:
  %update = inttoptr i64 2 to ptr
  %r = call i64 %update(ptr @counts, ptr %owner, ptr %size, i64 0)
  br label %out
out:
  ret i64 0
}
