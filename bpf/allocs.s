; Who allocates: how many frames at once, by owner; how large objects are; how often, by place in the kernel's code.
;
;   bpf load allocs; bpf attach allocs; ...; bpf maps allocs

map frames percpu_histogram key=owner entries=16
map bytes percpu_histogram key=event entries=1
map caches percpu_hash key=cache entries=128
map sites percpu_hash key=code entries=256

program on_frame frame-alloc
    mov r6, r1
    ldxdw r2, [r6+owner]
    stxdw [r10-8], r2
    lddw r1, @frames
    mov r2, r10
    add r2, -8
    ldxdw r3, [r6+size]
    call map_add

    call call_site
    stxdw [r10-8], r0
    lddw r1, @sites
    mov r2, r10
    add r2, -8
    mov r3, 1
    call map_add

    mov r0, 0
    exit

program on_object slab-alloc
    mov r6, r1
    ldxdw r2, [r6+event]
    stxdw [r10-8], r2
    lddw r1, @bytes
    mov r2, r10
    add r2, -8
    ldxdw r3, [r6+size]
    call map_add

    ldxdw r2, [r6+first]
    stxdw [r10-8], r2
    lddw r1, @caches
    mov r2, r10
    add r2, -8
    mov r3, 1
    call map_add

    call call_site
    stxdw [r10-8], r0
    lddw r1, @sites
    mov r2, r10
    add r2, -8
    mov r3, 1
    call map_add

    mov r0, 0
    exit
