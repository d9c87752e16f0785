import { UserError } from '../../base/errors.ts';
import { analyze, type Analysis, type AnalysisInput } from '../join/analysis.ts';
import { wallToTraceNs } from '../join/clock.ts';
import { driverMode, requestsOf, windowAt, type DeviceWindow } from '../join/devices.ts';
import { describeFrame } from '../sources/ethernet.ts';
import type { IoAccess } from '../join/io.ts';
import { MapCacheHistory } from '../join/mapcache.ts';
import { timeOf, transmissions, type Transmission } from '../join/packet.ts';
import { addressesOf, joinSentences, routeSentences, translationSentences, unknownSentences } from './story-answers.ts';
import { accessHops, doorbellHops, fileTimeNs, inTimeOrder, type Teller } from './story-hops.ts';
import { hex, say, sayClaim, type Sentence, type Story } from './story-model.ts';
import { otherFrameStory } from './story-receive.ts';
import { timeSentences } from './story-time.ts';

/** Which packet a story is about: a number (of the capture's frame, or of the transmission without one) or a trace time. */
export interface Subject {
  readonly packet?: number | undefined;
  /** Seconds of trace time. */
  readonly atSeconds?: number | undefined;
}

/**
 * Reads the files and tells the story of one packet.
 * @throws UserError where the files hold no packet, or not the one asked for
 */
export async function explainFiles(input: AnalysisInput & Subject): Promise<Story> {
  return tellStory(await analyze(input), input);
}

/** The story of one packet of an analysis. */
export function tellStory(a: Analysis, subject: Subject = {}): Story {
  const sent = transmissions(a);
  if (subject.packet !== undefined && a.frames.length > 0) {
    const own = sent.find((t) => t.frame.value?.number === subject.packet);
    if (own !== undefined) return transmitStory(a, own, sent);
    const frame = a.frames.find((f) => f.number === subject.packet);
    if (frame === undefined)
      throw new UserError(
        `--packet ${subject.packet}: the capture has frames ${a.frames[0]!.number} to ${a.frames[a.frames.length - 1]!.number}`,
      );
    return otherFrameStory(a, frame, sent, windowInUse(a));
  }
  if (sent.length === 0) throw new UserError(whyNoPacket(a));
  if (subject.packet !== undefined) {
    const own = sent[subject.packet - 1];
    if (own === undefined)
      throw new UserError(
        `--packet ${subject.packet}: the files hold ${sent.length} transmissions; without a capture packets are numbered from 1 in their order`,
      );
    return transmitStory(a, own, sent);
  }
  if (subject.atSeconds !== undefined) {
    const at = subject.atSeconds * 1e9;
    const distance = (t: Transmission): number => Math.abs((timeOf(a, t.access, t.request) ?? Infinity) - at);
    return transmitStory(
      a,
      sent.reduce((best, t) => (distance(t) < distance(best) ? t : best)),
      sent,
    );
  }
  const whole = sent.find(
    (t) => t.access !== undefined && t.request !== undefined && t.frame.value !== undefined && t.access.lost === undefined,
  );
  return transmitStory(a, whole ?? sent.find((t) => t.access !== undefined) ?? sent[0]!, sent);
}

function whyNoPacket(a: Analysis): string {
  if (a.windows.length === 0)
    return `no known device in the files: ${a.accesses.length} I/O accesses, but no BAR write, region line or console names where a chip lies; give --device rtl8139@BASE or the device-model log`;
  const w = windowInUse(a)!;
  return `no transmission in the files: ${w.chip.name} at ${hex(w.base)} is known, but no write of TxPoll or TxStatus is recorded`;
}

/** The BAR that the driver uses: of a chip's two, the one with most accesses. */
function windowInUse(a: Analysis): DeviceWindow | undefined {
  const uses = (w: DeviceWindow): number =>
    a.accesses.filter((x) => windowAt([w], x.space, x.addr) !== undefined).length + requestsOf(w, a.log?.requests ?? []).length;
  return a.windows.reduce<DeviceWindow | undefined>(
    (best, w) => (best === undefined || uses(w) > uses(best) ? w : best),
    undefined,
  );
}

/** The access the story walks along: the doorbell, or where no file has it the write of the ring's address. */
const walkedOf = (tx: Transmission): IoAccess | undefined => tx.access ?? (tx.request === undefined ? tx.ringAccess : undefined);

function transmitStory(a: Analysis, tx: Transmission, all: readonly Transmission[]): Story {
  const walked = walkedOf(tx);
  const clock = a.clockKind.value;
  const firstUs = (tx.request ?? tx.ring.value?.request)?.request.timeUs;
  const zeroNs =
    walked !== undefined
      ? (walked.marks.exit ?? walked.record).timeNs
      : firstUs === undefined
        ? undefined
        : a.clock !== undefined
          ? wallToTraceNs(a.clock, firstUs + a.clock.lineUs)
          : a.accesses.length === 0
            ? fileTimeNs(a, firstUs)
            : undefined;
  const t: Teller = { a, hops: [], zeroNs, clock };
  const { window } = tx;

  if (tx.access === undefined && walked !== undefined) {
    accessHops(t, walked, a.pairing?.requestOf[walked.index], window, tx.mode);
  }
  doorbellHops(t, tx);
  inTimeOrder(t.hops);
  const history = a.log === undefined ? undefined : new MapCacheHistory(a.log);
  return {
    title: titleOf(a, tx, all),
    clock: a.clockKind,
    subject: subjectOf(a, tx),
    hops: t.hops,
    addresses: addressesOf(a, tx, walked),
    route: routeSentences(a, tx, walked),
    translation: translationSentences(a, tx, walked, history),
    time: timeSentences(a, tx, walked),
    unknowns: unknownSentences(a, tx, walked),
    joins: joinSentences(a),
  };
}

function titleOf(a: Analysis, tx: Transmission, all: readonly Transmission[]): string {
  const frame = tx.frame.value;
  const number = all.indexOf(tx) + 1;
  const what =
    frame !== undefined
      ? `${describeFrame(frame.data)}, ${frame.wireLength} bytes`
      : tx.descriptor.length.value !== undefined
        ? `a frame of ${tx.descriptor.length.value} bytes`
        : 'a frame';
  const which = frame !== undefined ? `Packet ${frame.number} of the capture` : `Transmission ${number} of ${all.length}`;
  return `${which}: ${what}, sent through an emulated ${tx.window?.chip.name.toUpperCase() ?? 'NIC'} in ${tx.mode} mode${a.accesses.length === 0 ? ' (from the log alone)' : ''}`;
}

function subjectOf(a: Analysis, tx: Transmission): Sentence[] {
  const out: Sentence[] = [];
  if (tx.window !== undefined) {
    const { found } = tx.window;
    out.push(
      say(
        `The ${tx.window.chip.name.toUpperCase()}'s registers lie at guest-physical ${hex(tx.window.base)}: ${found.why}.`,
        found.strength,
        found.refs,
      ),
    );
    const mode = driverMode(tx.window, a.accesses, a.log);
    out.push(sayClaim(mode, (m) => `The driver runs the chip in ${m} mode: ${mode.why}.`, "The chip's mode"));
  }
  out.push(
    sayClaim(
      tx.frame,
      (f) => `The frame that left is number ${f.number} of the capture: ${tx.frame.why}.`,
      'Which captured frame it is',
    ),
  );
  return out;
}
