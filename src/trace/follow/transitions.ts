/**
 * What happens on a traced host, as its records tell it: each method is one kind of change. Times are TSC ticks from the
 * trace's first TSC on, with the skew of CPUs taken into account. A caller passes numbers, so that nothing is allocated.
 */
export interface Transitions {
  /**
   * An exit of an HVM vCPU is over: by VM entry, or because what the vCPU waited for happened.
   * @param ripLow,ripHigh where the guest was, as two 32-bit halves
   */
  exit(
    pcpu: number,
    dom: number,
    vcpu: number,
    reason: number,
    ripLow: number,
    ripHigh: number,
    start: number,
    end: number,
  ): void;
  /**
   * A vCPU leaves a runstate.
   * @param state 0 running, 1 runnable, 2 blocked, 3 offline; 4 lost: records that would tell are missing
   * @param cause why it was runnable: 1 woken, 2 preempted, 3 other; 0 for another state
   * @param next the state it enters
   */
  runstate(pcpu: number, dom: number, vcpu: number, state: number, cause: number, next: number, start: number, end: number): void;
  /** @param sinceWake ticks since the vCPU was made runnable for this interrupt; −1 where it was not asleep */
  injected(pcpu: number, dom: number, vcpu: number, vector: number, fake: boolean, at: number, sinceWake: number): void;
  /**
   * A hypercall of a PV vCPU, or of an HVM one, whose exit lasts from `at` on.
   * @param command sub-operation, −1 where the record has none
   * @param count operations in it: grant operations, mmu updates, calls of a multicall; −1 where the record has none
   * @param ticks how long the exit lasted; −1 for a PV vCPU, whose return is not traced
   */
  hypercall(
    pcpu: number,
    dom: number,
    vcpu: number,
    number: number,
    command: number,
    count: number,
    at: number,
    ticks: number,
  ): void;
  /** A port or memory access is over, with its exit. Addresses and data are as the record has them, in 32-bit halves. */
  io(
    pcpu: number,
    dom: number,
    vcpu: number,
    port: boolean,
    write: boolean,
    addrLow: number,
    addrHigh: number,
    data: number,
    start: number,
    end: number,
  ): void;
  /** Records of a pCPU found no room. */
  lost(pcpu: number, count: number, start: number, end: number): void;
}
