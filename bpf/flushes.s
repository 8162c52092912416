; The cost of flushes, by cause: how many pages each drops (0: everything), and how many CPUs it interrupts.
;
;   bpf load flushes; bpf attach flushes; ...; bpf maps flushes

map pages percpu_histogram key=reason entries=16
map cpus percpu_histogram key=reason entries=16

program on_flush flush
    mov r6, r1
    ldxdw r2, [r6+reason]
    stxdw [r10-8], r2

    lddw r1, @pages
    mov r2, r10
    add r2, -8
    ldxdw r3, [r6+size]
    call map_add

    lddw r1, @cpus
    mov r2, r10
    add r2, -8
    ldxdw r3, [r6+first]
    call map_add

    mov r0, 0
    exit
