/** The last VM exits of a vCPU, for whoever asks where it hangs. */
import { ExitReason, type VmExit } from '../../cpu/interface.ts';

const KEPT = 16;
const NAMES = new Map<number, string>(Object.entries(ExitReason).map(([name, reason]) => [reason, name]));

export class RecentExits {
  private readonly reasons = new Uint32Array(KEPT);
  /** The exit's own RIPs: a reference each, nothing is made for them. */
  private readonly rips: bigint[] = Array.from({ length: KEPT }, () => 0n);
  /** Guest-physical address, port, or qualification. */
  private readonly details = new Float64Array(KEPT);
  private readonly writes = new Uint8Array(KEPT);
  private readonly times = new Float64Array(KEPT);
  private count = 0;

  /** Exits kept so far, in all. */
  get total(): number {
    return this.count;
  }

  /** @param nowNs nanoseconds of the machine's clock */
  record(exit: VmExit, nowNs: number): void {
    const at = this.count++ % KEPT;
    const { reason } = exit;
    this.reasons[at] = reason;
    this.rips[at] = exit.rip;
    this.details[at] =
      reason === ExitReason.eptViolation ? exit.gpa : reason === ExitReason.ioInstruction ? exit.port : exit.qualification;
    this.writes[at] = exit.isWrite ? 1 : 0;
    this.times[at] = nowNs;
  }

  /** A line each, the oldest first. */
  lines(): string[] {
    const kept = Math.min(this.count, KEPT);
    return Array.from({ length: kept }, (_, i) => {
      const at = (this.count - kept + i) % KEPT;
      const reason = this.reasons[at]!;
      const way = this.writes[at] ? 'write' : 'read';
      const detail =
        reason === ExitReason.eptViolation
          ? ` ${way} gpa 0x${this.details[at]!.toString(16)}`
          : reason === ExitReason.ioInstruction
            ? ` ${way} port 0x${this.details[at]!.toString(16)}`
            : '';
      return `  ${(this.times[at]! / 1e9).toFixed(9)} s  rip ${this.rips[at]!.toString(16).padStart(16, '0')}  ${NAMES.get(reason) ?? `reason ${reason}`} (${reason})${detail}`;
    });
  }
}
