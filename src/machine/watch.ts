/** Events of a running machine on their way to whoever launched it: gathered, so that a burst crosses threads as one message. */
import { IOREQ_READ, IoreqType } from '../abi/ioreq.ts';
import type { DeviceModel } from '../device-model/device-model.ts';
import type { NicOptions } from '../device-model/nics.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import { TRC_HVM_INJ_VIRQ, TRC_HVM_VMEXIT, TRC_HVM_VMEXIT64 } from '../trace/events.ts';
import { exitReasonName } from '../trace/index.ts';
import type { Clock } from '../base/clock.ts';
import type { WatchedEvent } from './requests.ts';
import type { PostJobMessage } from './job.ts';

/** Events that are gathered at most before they go out. */
const BATCH = 1024;

const TYPES: Readonly<Record<number, 'pio' | 'copy' | 'pci config' | 'time offset' | 'invalidate'>> = {
  [IoreqType.pio]: 'pio',
  [IoreqType.copy]: 'copy',
  [IoreqType.pciConfig]: 'pci config',
  [IoreqType.timeOffset]: 'time offset',
  [IoreqType.invalidate]: 'invalidate',
};

export class EventBatch {
  private events: WatchedEvent[] = [];
  private readonly post: PostJobMessage;

  constructor(post: PostJobMessage) {
    this.post = post;
  }

  add(event: WatchedEvent): void {
    this.events.push(event);
    if (this.events.length >= BATCH) this.flush();
  }

  flush(): void {
    if (this.events.length === 0) return;
    const { events } = this;
    this.events = [];
    this.post({ kind: 'events', events });
  }
}

/** Watch VM exits and injections, or stop to. They are seen where the trace records them: without a trace there are none. */
export function watchGuest(
  hvm: HvmVcpu,
  want: { readonly exits: boolean; readonly interrupts: boolean },
  batch: EventBatch,
): void {
  const { trace, clock } = hvm.domain.pcpu;
  trace.tap =
    want.exits || want.interrupts
      ? (event, tsc, _count, w0, w1, w2) => {
          if (want.exits && (event === TRC_HVM_VMEXIT || event === TRC_HVM_VMEXIT64))
            batch.add({
              kind: 'exit',
              reason: w0,
              reasonName: exitReasonName('vmx', w0) ?? `reason ${w0}`,
              rip: (event === TRC_HVM_VMEXIT64 ? BigInt(w2 >>> 0) << 32n : 0n) | BigInt(w1 >>> 0),
              tsc,
            });
          else if (want.interrupts && event === TRC_HVM_INJ_VIRQ) batch.add({ kind: 'interrupt', vector: w0, tsc: clock.tsc() });
        }
      : undefined;
}

/** NICs whose wire has nobody but them: its other end is outside. */
export const ownWires = (nics: readonly NicOptions[]): ReadonlySet<number> =>
  new Set(nics.flatMap(({ wire }, i) => (wire === 'own' ? [i] : [])));

/** What leaves a device model for whoever watches it. */
export class DeviceModelWatch {
  private wantsIoreqs = false;
  private wantsFrames = false;

  /** @param always NICs whose frames go out although nobody asked: the other end of their wire is outside */
  constructor(deviceModel: DeviceModel, clock: Clock, batch: EventBatch, post: PostJobMessage, always: ReadonlySet<number>) {
    deviceModel.server.served.add((r) => {
      if (!this.wantsIoreqs) return;
      batch.add({
        kind: 'ioreq',
        serial: r.serial,
        buffered: r.vcpu < 0,
        type: TYPES[r.type] ?? 'unknown',
        write: r.dir !== IOREQ_READ,
        address: r.addr,
        size: r.size,
        count: r.count,
        data: (BigInt(r.dataHi >>> 0) << 32n) | BigInt(r.dataLo >>> 0),
        dataIsPointer: r.dataIsPtr,
        ns: clock.nowNs(),
      });
    });
    deviceModel.frames.add(({ nic, direction, atNs, frame }) => {
      if (this.wantsFrames || (direction === 'outbound' && always.has(nic)))
        post({ kind: 'frame', nic, direction, ns: atNs, bytes: frame.slice() });
    });
  }

  want(ioreqs: boolean, frames: boolean): void {
    this.wantsIoreqs = ioreqs;
    this.wantsFrames = frames;
  }
}
