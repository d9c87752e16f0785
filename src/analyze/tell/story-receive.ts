import type { Analysis } from '../join/analysis.ts';
import { wallToTraceNs } from '../join/clock.ts';
import { driverMode, type DeviceWindow } from '../join/devices.ts';
import type { DmDma } from '../sources/dm-lines.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { claim, logLine, pcapFrame, unknown } from '../sources/evidence.ts';
import { CALLBACK_VECTOR, interruptVector } from '../join/interrupt.ts';
import { descriptorGroups, intrStatusRead, receiveRing, registerText, type Transmission } from '../join/packet.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import { gvaText, joinSentences, missingAddresses } from './story-answers.ts';
import { fileTimeNs, frameTime, hopAt, lineTime, type Teller } from './story-hops.ts';
import { hex, say, vcpuName, type AddressRow, type Story } from './story-model.ts';

/** A received frame begins to reach guest memory within this, and goes on without a longer pause, or something else did. */
const RECEIVE_WINDOW_US = 20_000;
/** How much earlier than its capture a frame may already have been taken in. */
const TAP_DELAY_US = 100;
const RX_OK = 0x1;

const sourceOf = (frame: CapturedFrame): string => frame.data.subarray(6, 12).join();

/** A captured frame that no doorbell in the files sent: it came in, or the guest sent it outside the files. */
export function otherFrameStory(
  a: Analysis,
  frame: CapturedFrame,
  sent: readonly Transmission[],
  window: DeviceWindow | undefined,
): Story {
  const own = sent.find((t) => t.frame.value !== undefined && sourceOf(t.frame.value) === sourceOf(frame));
  return own === undefined ? receiveStory(a, frame, sent, window) : ownFrameStory(a, frame, own);
}

const titleOf = (frame: CapturedFrame, rest: string): string =>
  `Packet ${frame.number} of the capture: ${describeFrame(frame.data)}, ${frame.wireLength} bytes, ${rest}`;

/** A frame from the guest's own address without a doorbell: there is nothing to tell but why. */
function ownFrameStory(a: Analysis, frame: CapturedFrame, own: Transmission): Story {
  const t = tellerOf(a, frame);
  const last = a.log?.requests.at(-1)?.request;
  const after = last?.timeUs !== undefined && frame.timeUs > last.timeUs;
  return {
    title: titleOf(frame, 'sent by the guest, its doorbell not in the files'),
    clock: a.clockKind,
    subject: [
      say(
        `The guest sent it: its source address is that of frame ${own.frame.value!.number}, which has its doorbell.`,
        'strong',
        [pcapFrame(frame.number), ...own.frame.refs],
      ),
      after
        ? say('It was captured after the last request of the log.', 'proven', [
            pcapFrame(frame.number),
            logLine(last.line, a.log!.source),
          ])
        : say('Why no doorbell of the files fits it is unknown: records or log lines of it are missing.', 'unknown', [
            pcapFrame(frame.number),
          ]),
    ],
    hops: t.hops,
    addresses: [],
    route: [say('Which way its doorbell went: unknown, no file holds it.', 'unknown', [])],
    translation: [],
    time: [],
    unknowns: [],
    joins: joinSentences(a),
  };
}

function tellerOf(a: Analysis, frame: CapturedFrame): Teller {
  const wall = a.clock === undefined ? undefined : wallToTraceNs(a.clock, frame.timeUs);
  const t: Teller = {
    a,
    hops: [],
    zeroNs: wall ?? (a.accesses.length === 0 ? fileTimeNs(a, frame.timeUs) : undefined),
    clock: a.clockKind.value,
  };
  const at = frameTime(t, frame.timeUs);
  hopAt(
    t,
    at.timeNs,
    'wire',
    `carries frame ${frame.number}: ${describeFrame(frame.data)}, ${frame.wireLength} bytes.`,
    'proven',
    [pcapFrame(frame.number)],
    at.errorNs,
  );
  return t;
}

/** A frame that came in: DMA into the receive ring after its capture, the interrupt, the guest's read of IntrStatus. */
function receiveStory(a: Analysis, frame: CapturedFrame, sent: readonly Transmission[], window: DeviceWindow | undefined): Story {
  const source = a.log?.source;
  const wall = a.clock === undefined ? undefined : wallToTraceNs(a.clock, frame.timeUs);
  const t = tellerOf(a, frame);
  const behind = dmaAfter(a, frame, sent);
  const mode = window === undefined ? undefined : driverMode(window, a.accesses, a.log).value;
  const ring =
    window === undefined || mode === undefined ? unknown<number>('no device is known') : receiveRing(a, window, mode, wall);
  const groups = mode === 'C+' && ring.value !== undefined ? descriptorGroups(behind, ring.value) : [];
  const group = groups.find((g) => g.buffers.length > 0);
  if (group !== undefined && ring.value !== undefined) {
    const from = lineTime(t, group.all[0]!.timeUs);
    hopAt(
      t,
      from.timeNs,
      'device model',
      `looks at receive descriptor ${(group.at - ring.value) / 16}, guest-physical ${hex(group.at)}.`,
      'strong',
      [logLine(group.all[0]!.line, source), ...ring.refs],
      from.errorNs,
    );
    const into = lineTime(t, group.buffers[0]!.timeUs);
    hopAt(
      t,
      into.timeNs,
      'device model',
      `writes the frame to guest-physical ${hex(group.buffers[0]!.gpa)}, the next address it asked its map cache for.`,
      'inferred',
      [logLine(group.buffers[0]!.line, source)],
      into.errorNs,
    );
  } else if (behind.length > 0) {
    const from = lineTime(t, behind[0]!.timeUs);
    hopAt(
      t,
      from.timeNs,
      'device model',
      `touches guest memory ${behind.length} time${behind.length === 1 ? '' : 's'}, from ${hex(behind[0]!.gpa)} on, outside any transmission: taking the frame in.`,
      'inferred',
      [logLine(behind[0]!.line, source), logLine(behind[behind.length - 1]!.line, source)],
      from.errorNs,
    );
  }
  const dom = learnt(t, window, wall);
  const addresses: AddressRow[] = (
    group === undefined
      ? behind.slice(0, 2).map((d) => ['touched by the device model', d] as const)
      : [['receive descriptor', group.all[0]!] as const, ['frame buffer', group.buffers[0]!] as const]
  ).map(([what, d]) => {
    const mfn =
      dom === undefined
        ? unknown<{ mfn: bigint; type: number }>('no trace record names this frame')
        : a.p2m.lookup(dom, Math.floor(d.gpa / 4096));
    return {
      what,
      gva: gvaText(a, d.gpa),
      gpa: claim(hex(d.gpa), 'proven', 'the log prints it', [logLine(d.line, source)]),
      mfn: mfn.value === undefined ? unknown(mfn.why) : claim(hex(mfn.value.mfn), 'proven', mfn.why, mfn.refs),
      mapping:
        d.pointer === undefined
          ? unknown('no return line follows')
          : claim(hex(BigInt('0x' + d.pointer)), 'proven', 'the log prints it', [logLine(d.line, source)]),
    };
  });
  return {
    title: titleOf(frame, 'not sent by a doorbell in the files'),
    clock: a.clockKind,
    subject: [
      say(
        sent.some((x) => x.frame.value !== undefined)
          ? 'It came from outside: no doorbell of the guest fits it, and its source address is not that of the frames which have one.'
          : 'No doorbell of the guest fits this frame: it came from outside, or its doorbell is not in the files.',
        sent.some((x) => x.frame.value !== undefined) ? 'strong' : 'inferred',
        [pcapFrame(frame.number)],
      ),
    ],
    hops: t.hops,
    addresses,
    route: [
      say(
        'A received frame needs no request of the guest: the device model writes it into guest memory on its own.',
        'strong',
        behind.length > 0 ? [logLine(behind[0]!.line, source)] : [],
      ),
    ],
    translation:
      behind.length > 0
        ? [
            say(
              `The device model works with guest-physical addresses${ring.value === undefined ? '' : ` of the receive ring that the driver put at ${hex(ring.value)}`} and finds them through its map cache, as for a transmission.`,
              'strong',
              [...ring.refs, logLine(behind[0]!.line, source)],
            ),
          ]
        : [say('What memory the device model wrote is unknown: no map-cache line follows the frame.', 'unknown', [])],
    time: timeOfReception(t),
    unknowns: [
      ...missingAddresses(addresses),
      say('Which bytes were written where: map-cache lines carry addresses, not contents.', 'unknown', []),
    ],
    joins: joinSentences(a),
  };
}

/** Memory accesses of the device model, none of a transmission, from a frame's capture to the next frame's. */
function dmaAfter(a: Analysis, frame: CapturedFrame, sent: readonly Transmission[]): DmDma[] {
  const claimed = new Set(sent.flatMap((x) => x.doorbellDma.map((d) => d.line)));
  const next = a.frames.find((f) => f.timeUs > frame.timeUs)?.timeUs ?? Infinity;
  // A tap may write its block when the frame is already delivered.
  const since = Math.max(
    Math.floor(frame.timeUs) - TAP_DELAY_US,
    Math.floor(a.frames.findLast((f) => f.timeUs < frame.timeUs)?.timeUs ?? 0),
  );
  const found: DmDma[] = [];
  let until = frame.timeUs + RECEIVE_WINDOW_US;
  for (const d of a.log === undefined ? [] : [...a.log.early.dma, ...a.log.requests.flatMap((r) => r.dma)]) {
    if (d.timeUs === undefined || d.timeUs < since || claimed.has(d.line)) continue;
    if (d.timeUs >= Math.min(next, until)) break;
    found.push(d);
    until = Math.max(until, d.timeUs + RECEIVE_WINDOW_US);
  }
  return found;
}

/** The interrupt and the read of IntrStatus by which the guest learns of a frame. Gives the guest's domain, where it is seen. */
function learnt(t: Teller, window: DeviceWindow | undefined, wallNs: number | undefined): number | undefined {
  const { a } = t;
  if (window === undefined || wallNs === undefined) return undefined;
  const afterNs = wallNs - a.clock!.errorUs * 1000;
  const before = a.accesses.filter((x) => x.record.timeNs <= afterNs).at(-1);
  const read = before === undefined ? undefined : intrStatusRead(a, window, before, RX_OK);
  if (read === undefined) return undefined;
  const vector = interruptVector(a, window);
  const readAt = (read.marks.exit ?? read.record).timeNs;
  const injected = read.injected.findLast((x) => x.vector === vector.value && x.timeNs >= afterNs && x.timeNs <= readAt);
  if (injected !== undefined) {
    hopAt(
      t,
      injected.timeNs,
      'Xen',
      `injects vector ${hex(injected.vector)} into ${vcpuName(read)}, the last before the read of IntrStatus below${injected.vector === CALLBACK_VECTOR ? '; it is the callback vector all event channels share' : ''}.`,
      'inferred',
      [injected.ref, ...vector.refs],
    );
  }
  hopAt(
    t,
    read.record.timeNs,
    `guest ${vcpuName(read)}`,
    `learns of it: reads ${registerText(window, read.addr, 2, read.data, undefined)} = ${hex(read.data!)}.`,
    'inferred',
    [read.record.ref],
  );
  return read.dom;
}

/** From the wire to the guest's driver. */
function timeOfReception(t: Teller): Story['time'] {
  const [wire, ...rest] = t.hops;
  const last = rest.at(-1);
  if (wire?.atNs === undefined || last?.atNs === undefined) return [];
  const parts = rest.map(
    (hop, i) =>
      `${((hop.atNs! - (i === 0 ? wire : rest[i - 1]!).atNs!) / 1000).toFixed(1)} µs until ${hop.where === 'Xen' ? 'Xen injected the interrupt' : hop.where === 'device model' ? (hop.text.startsWith('writes') ? 'it wrote the frame' : 'the device model turned to it') : 'the guest read IntrStatus'}`,
  );
  return [
    say(
      `Of ${((last.atNs - wire.atNs) / 1000).toFixed(1)} µs from the wire to the last step above: ${parts.join('; ')}.`,
      'inferred',
      [...wire.refs, ...last.refs],
    ),
  ];
}
