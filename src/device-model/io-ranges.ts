/**
 * Tells the hypervisor which ports or addresses the device model serves. The hypervisor takes disjoint ranges only, so
 * overlapping and touching mappings of a space are joined first, and only what differs from before is changed.
 */
import { xenMapMmioRange, xenMapPortioRange, xenUnmapMmioRange, xenUnmapPortioRange } from '../abi/dm-log-lines.ts';
import { IoRangeType, type DeviceModelHypercalls } from '../abi/dm-op.ts';
import type { Logger } from '../base/logger.ts';
import type { IoSpace } from '../devices/io-space.ts';
import type { DmLog } from './log.ts';

const PORTS = { type: IoRangeType.port, name: 'portio', mapped: xenMapPortioRange, unmapped: xenUnmapPortioRange };
const MEMORY = { type: IoRangeType.memory, name: 'mmio', mapped: xenMapMmioRange, unmapped: xenUnmapMmioRange };

export class IoRanges {
  private readonly space: IoSpace;
  private readonly hypercalls: Pick<DeviceModelHypercalls, 'mapIoRange' | 'unmapIoRange'>;
  private readonly server: number;
  private readonly log: DmLog | undefined;
  private readonly logger: Logger;
  /** Registered ranges: end (inclusive) by start. */
  private ranges = new Map<number, number>();

  constructor(
    space: IoSpace,
    hypercalls: Pick<DeviceModelHypercalls, 'mapIoRange' | 'unmapIoRange'>,
    server: number,
    logger: Logger,
    log?: DmLog,
  ) {
    this.space = space;
    this.hypercalls = hypercalls;
    this.server = server;
    this.logger = logger;
    this.log = log?.traces ? log : undefined;
    space.changes.add(() => this.update());
    this.update();
  }

  private update(): void {
    const wanted = this.union();
    const { type, name, mapped, unmapped } = this.space.kind === 'port' ? PORTS : MEMORY;
    for (const [start, end] of this.ranges) {
      if (wanted.get(start) === end) continue;
      if (this.log !== undefined) this.log.put(unmapped, { id: this.server, start, end });
      this.hypercalls.unmapIoRange(this.server, type, start, end);
    }
    for (const [start, end] of wanted) {
      if (this.ranges.get(start) === end) continue;
      if (this.log !== undefined) this.log.put(mapped, { id: this.server, start, end });
      const error = this.hypercalls.mapIoRange(this.server, type, start, end);
      if (error < 0) {
        this.logger.warn(
          `device model: ${name} range 0x${start.toString(16)}-0x${end.toString(16)} not granted (error ${-error}); accesses there go unanswered`,
        );
        wanted.delete(start);
      }
    }
    this.ranges = wanted;
  }

  private union(): Map<number, number> {
    const joined = new Map<number, number>();
    const sorted = this.space.mappings
      .map(({ base, region }) => [base, base + region.size - 1] as const)
      .sort(([a], [b]) => a - b);
    let start = -1;
    let end = -2;
    for (const [from, to] of sorted) {
      if (from > end + 1 || start < 0) {
        start = from;
        end = to;
      } else {
        end = Math.max(end, to);
      }
      joined.set(start, end);
    }
    return joined;
  }
}
