import { UserError } from '../../base/errors.ts';
import { analyze, guestName, theGuest, type Analysis, type AnalysisInput } from '../join/analysis.ts';
import { wallToTraceNs } from '../join/clock.ts';
import { secondsText } from '../join/capture-clock.ts';
import { destinationOf, sourceOf } from '../join/frames.ts';
import type { Guest } from '../join/guest.ts';
import type { IoAccess } from '../join/io.ts';
import { MapCacheHistory } from '../join/mapcache.ts';
import { timeOf, type Transmission } from '../join/transmit.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { pcapFrame } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import { addressesOf, joinSentences, routeSentences, translationSentences, unknownSentences } from './story-answers.ts';
import { accessHops, doorbellHops, fileTimeNs, inTimeOrder, type Teller } from './story-hops.ts';
import { hex, say, sayClaim, type Sentence, type Story } from './story-model.ts';
import { otherFrameStory } from './story-receive.ts';
import { summaryOf } from './story-summary.ts';
import { timeSentences } from './story-time.ts';

/** Which packet a story is about: a number (of the capture's frame, or of the transmission without one) or a trace time. */
export interface Subject {
  readonly packet?: number | undefined;
  /** Seconds of trace time. */
  readonly atSeconds?: number | undefined;
  /** Which guest's, where the files hold several: its domain or its label. */
  readonly domain?: string | undefined;
}

/**
 * Reads the files and tells the story of one packet.
 * @throws UserError where the files hold no packet, or not the one asked for
 */
export async function explainFiles(input: AnalysisInput & Subject): Promise<Story> {
  return tellStory(await analyze(input), input);
}

/** The guest that a frame of the capture belongs to: the sender, else the only receiver. */
function guestOfFrame(a: Analysis, frame: CapturedFrame, domain: string | undefined): Guest {
  if (domain === undefined && a.guests.length > 1) {
    const sender =
      a.guests.find((g) => g.transmissions.some((t) => t.frame.value?.number === frame.number)) ??
      a.guests.find((g) => g.capture.stations.has(sourceOf(frame)));
    const receivers = a.guests.filter((g) => g.capture.stations.has(destinationOf(frame)));
    if (sender !== undefined) return sender;
    if (receivers.length === 1) return receivers[0]!;
  }
  return theGuest(a, domain);
}

/** The story of one packet of an analysis. */
export function tellStory(a: Analysis, subject: Subject = {}): Story {
  if (subject.packet !== undefined && a.frames.length > 0) {
    const frame = a.frames.find((f) => f.number === subject.packet);
    if (frame === undefined)
      throw new UserError(
        `--packet ${subject.packet}: the capture has frames ${a.frames[0]!.number} to ${a.frames.at(-1)!.number}${a.frames.at(-1)!.number === a.frames.length ? '' : ', not all of them read'}`,
      );
    const g = guestOfFrame(a, frame, subject.domain);
    const first = g.capture.sightings.get(frame.number);
    if (first !== undefined) return againStory(g, frame, first);
    return frameStory(g, frame);
  }
  const g = theGuest(a, subject.domain);
  const sent = g.transmissions;
  if (sent.length === 0) throw new UserError(whyNoPacket(a, g));
  if (subject.packet !== undefined) {
    const own = sent[subject.packet - 1];
    if (own === undefined)
      throw new UserError(
        `--packet ${subject.packet}: the files hold ${sent.length} transmissions; without a capture packets are numbered from 1 in their order`,
      );
    return transmitStory(g, own);
  }
  if (subject.atSeconds !== undefined) {
    const at = subject.atSeconds * 1e9;
    const distance = (t: Transmission): number => Math.abs((timeOf(g, t.access, t.request) ?? Infinity) - at);
    return transmitStory(
      g,
      sent.reduce((best, t) => (distance(t) < distance(best) ? t : best)),
    );
  }
  const whole = sent.find(
    (t) => t.access !== undefined && t.request !== undefined && t.frame.value !== undefined && t.access.lost === undefined,
  );
  return transmitStory(g, whole ?? sent.find((t) => t.access !== undefined) ?? sent[0]!);
}

function frameStory(g: Guest, frame: CapturedFrame): Story {
  const own = g.transmissions.find((t) => t.frame.value?.number === frame.number);
  return own === undefined ? otherFrameStory(g, frame) : transmitStory(g, own);
}

/** The same frame once more, on another interface: the story of the first sight, with a word on it. */
function againStory(g: Guest, frame: CapturedFrame, first: CapturedFrame): Story {
  const story = frameStory(g, first);
  const faces = [frame, first].map((f) => f.interfaceName ?? `interface ${f.interfaceId}`);
  const again = say(
    `Frame ${frame.number} is frame ${first.number} once more, seen on the second interface of the capture (${faces[0]} beside ${faces[1]}), ${shortText(frame.timeUs - first.timeUs)} later: ${g.transmissions.some((t) => t.frame.value === first) ? `its doorbell is that of frame ${first.number}` : `its story is that of frame ${first.number}`}.`,
    'strong',
    [pcapFrame(frame.number), pcapFrame(first.number)],
  );
  return {
    ...story,
    title: `Packet ${frame.number} of the capture is packet ${first.number} once more. ${story.title}`,
    subject: [again, ...story.subject],
  };
}

const shortText = (us: number): string => (us < 1e6 ? `${us.toFixed(1)} µs` : secondsText(us));

function whyNoPacket(a: Analysis, g: Guest): string {
  const others = a.guests.filter((x) => x !== g && x.transmissions.length > 0);
  const elsewhere = others.length === 0 ? '' : `; ${others.map((x) => guestName(x)).join(', ')} sent some: --domain chooses`;
  if (g.windows.length === 0)
    return `no transmission of ${guestName(g)} in the files: ${g.accesses.length} I/O accesses, but no BAR write, region line or console gives the address of a chip; give --device rtl8139@BASE or the device-model log${elsewhere}`;
  const w = g.windows[0]!;
  return `no transmission of ${guestName(g)} in the files: ${w.chip.name} at ${hex(w.base)} is known, but no doorbell of it is recorded${elsewhere}`;
}

/** The access the story walks along: the doorbell, or where no file has it the write of the ring's address. */
const walkedOf = (tx: Transmission): IoAccess | undefined => tx.access ?? (tx.request === undefined ? tx.placeAccess : undefined);

function transmitStory(g: Guest, tx: Transmission): Story {
  const walked = walkedOf(tx);
  const clock = g.clockKind.value;
  const firstUs = (tx.request ?? tx.place.value?.request)?.request.timeUs;
  const zeroNs =
    walked !== undefined
      ? (walked.marks.exit ?? walked.record).timeNs
      : firstUs === undefined
        ? undefined
        : g.clock !== undefined
          ? wallToTraceNs(g.clock, firstUs + g.clock.lineUs)
          : g.accesses.length === 0
            ? fileTimeNs(g, firstUs)
            : undefined;
  const t: Teller = { a: g, hops: [], zeroNs, clock };
  const { window } = tx;

  if (tx.access === undefined && walked !== undefined) {
    accessHops(t, walked, g.pairing?.requestOf[walked.index], window, tx.mode.value);
  }
  doorbellHops(t, tx);
  inTimeOrder(t.hops);
  const history = g.log === undefined ? undefined : new MapCacheHistory(g.log);
  const addresses = addressesOf(g, tx, walked);
  const unknowns = unknownSentences(g, tx, walked);
  return {
    notes: g.leftOut,
    domain: g.dom,
    title: titleOf(g, tx),
    summary: summaryOf(g, tx, walked, addresses, unknowns),
    clock: g.clockKind,
    subject: subjectOf(g, tx),
    hops: t.hops,
    addresses,
    route: routeSentences(g, tx, walked),
    translation: translationSentences(g, tx, walked, history),
    time: timeSentences(g, tx, walked),
    unknowns,
    joins: joinSentences(g),
  };
}

function titleOf(g: Guest, tx: Transmission): string {
  const frame = tx.frame.value;
  const number = g.transmissions.indexOf(tx) + 1;
  const what =
    frame !== undefined
      ? `${describeFrame(frame.data)}, ${frame.wireLength} bytes`
      : tx.descriptor.length.value !== undefined
        ? `a frame of ${tx.descriptor.length.value} bytes`
        : 'a frame';
  const which =
    frame !== undefined ? `Packet ${frame.number} of the capture` : `Transmission ${number} of ${g.transmissions.length}`;
  const chip = tx.window?.chip;
  const mode = tx.mode.value === undefined || chip === undefined || chip.modes.length < 2 ? '' : ` in ${tx.mode.value} mode`;
  return `${which}: ${what}, sent through an emulated ${tx.device}${mode}${g.accesses.length === 0 ? ' (from the log alone)' : ''}`;
}

function subjectOf(g: Guest, tx: Transmission): Sentence[] {
  const out: Sentence[] = [];
  const guest = g.domains.length > 1 && g.dom !== undefined ? ` of ${guestName(g)}` : '';
  if (tx.window !== undefined) {
    const { found, chip, space, base } = tx.window;
    out.push(
      say(
        `The ${chip.title}'s registers${guest} lie at ${space === 'mmio' ? 'guest-physical' : 'port'} ${hex(base)}: ${found.why}.`,
        found.strength,
        found.refs,
      ),
    );
    if (chip.modes.length > 1)
      out.push(sayClaim(tx.mode, (m) => `The driver runs the chip in ${m} mode: ${tx.mode.why}.`, "The chip's mode"));
    if (tx.polled)
      out.push(
        say(
          `No doorbell of the ${chip.title} was written for it: the chip looks at its transmit ring at other accesses too, and found the frame there.`,
          tx.kind === 'inferred' ? 'inferred' : 'strong',
          tx.dmaStrength.refs,
        ),
      );
  } else if (tx.kind === 'inferred') {
    out.push(
      say(
        `The device is called ${tx.device}${guest}; its chip is not known here, so its registers have no names.`,
        'proven',
        tx.request?.region === undefined ? tx.frame.refs : [{ file: g.log!.source, unit: 'line', at: tx.request.region.line }],
      ),
    );
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
