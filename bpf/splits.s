; Who splits the direct map: pages split, by owner and reason.
;
;   bpf load splits; bpf attach splits; ...; bpf maps splits

map splits percpu_hash key=owner,reason entries=64

program on_split split
    ldxdw r2, [r1+owner]
    stxdw [r10-16], r2
    ldxdw r2, [r1+reason]
    stxdw [r10-8], r2
    lddw r1, @splits
    mov r2, r10
    add r2, -16
    mov r3, 1
    call map_add
    mov r0, 0
    exit
