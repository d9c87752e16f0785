import type { Guest } from '../join/guest.ts';
import { errorUsText, traceToWallUs } from '../join/clock.ts';
import type { DmDma } from '../sources/dm-lines.ts';
import { logLine, type Ref } from '../sources/evidence.ts';
import type { IoAccess, Mark } from '../join/io.ts';
import type { Transmission } from '../join/transmit.ts';
import { stagesOf, type Stages } from '../join/route.ts';
import { hex, say, us, type Sentence } from './story-model.ts';

/** "Where did the time go?": the stages between exit and entry, the device model's own part, and the register's other writes. */
export function timeSentences(a: Guest, tx: Transmission, walked: IoAccess | undefined): Sentence[] {
  const out: Sentence[] = [];
  if (walked === undefined) out.push(say('How long the guest waited is unknown: the doorbell is not in a trace.', 'unknown', []));
  else out.push(stageSentence(walked), ...othersSentence(a, walked));
  const part = logSentence(a, tx);
  if (part !== undefined) out.push(part);
  return out;
}

/** What passes in each stage, in the order of the stages; `schedule` is part of `wait` where no notification is recorded. */
const STAGE_TEXT: readonly (readonly [keyof Stages, string])[] = [
  ['emulate', 'in Xen, which decodes the access and fills the ioreq'],
  ['schedule', "until the device model's vCPU ran"],
  ['work', 'with the device model'],
  ['wake', "until the guest's vCPU ran again"],
  ['enter', 'in Xen again, up to the VM entry'],
];

function stageSentence(access: IoAccess): Sentence {
  const { marks } = access;
  const stages = stagesOf(access);
  const refs = (['exit', 'notified', 'blocked', 'modelRuns', 'woken', 'resumed', 'entry'] as const)
    .map((name) => marks[name])
    .filter((mark): mark is Mark => mark !== undefined)
    .map((mark) => mark.ref);
  if (access.lost !== undefined)
    return say('Records are lost between exit and entry: how long each stage took is unknown.', 'unknown', [access.lost.ref]);
  const { total } = stages;
  if (total === undefined) {
    const known =
      marks.notified !== undefined && stages.emulate !== undefined
        ? `${us(stages.emulate)} from the exit to the notification; the rest is`
        : 'How long the guest waited is';
    return say(
      `${known} unknown: the files hold no VM entry after it.`,
      marks.notified === undefined ? 'unknown' : 'proven',
      refs,
    );
  }
  if (stages.emulate === undefined)
    return say(
      `${us(total)} passed from exit to entry. Neither a notification nor a wait is recorded between: Xen's part and the device model's cannot be told apart.`,
      'proven',
      refs,
    );
  const parts: string[] = [];
  let told = 0;
  for (const [stage, text] of STAGE_TEXT) {
    const ns = stages[stage];
    if (ns === undefined) continue;
    told += ns;
    // Without a mark of its start the device model's part begins with the notification or the wait.
    const what = stage === 'work' && marks.modelRuns === undefined ? `${text}, the time until its vCPU ran included` : text;
    parts.push(`${us(ns)} (${percent(ns, total)}) ${what}`);
  }
  const rest = total - told;
  if (rest >= 100 && parts.length > 0) parts.push(`${us(rest)} between these`);
  return say(`Of ${us(total)} from exit to entry: ${parts.join('; ')}.`, 'proven', refs);
}

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(0)}%`;

/** The same register's other accesses in this direction. */
function othersSentence(a: Guest, access: IoAccess): Sentence[] {
  const { total } = stagesOf(access);
  const timed = a.accesses
    .filter(
      (x) => x !== access && x.dom === access.dom && x.space === access.space && x.addr === access.addr && x.dir === access.dir,
    )
    .flatMap((x) => {
      const time = stagesOf(x).total;
      return time === undefined ? [] : [{ time, ref: x.record.ref }];
    })
    .sort((x, y) => x.time - y.time);
  const first = timed[0];
  const last = timed.at(-1);
  if (total === undefined || first === undefined || last === undefined) return [];
  if (timed.length === 1) return [say(`The other ${access.dir} of this register took ${us(first.time)}.`, 'proven', [first.ref])];
  const median = timed.length > 2 ? `, ${us(timed[(timed.length - 1) >> 1]!.time)} in the median` : '';
  return [
    say(
      `The ${timed.length} other ${access.dir}s of this register took ${us(first.time)} to ${us(last.time)}${median}.`,
      'proven',
      [first.ref, last.ref],
    ),
  ];
}

interface Step {
  readonly timeUs: number;
  readonly what: string;
  readonly ref: Ref;
}

/** How the log divides the device model's part: its length and the longest pause between two of its lines. */
function logSentence(a: Guest, tx: Transmission): Sentence | undefined {
  const { request } = tx;
  if (a.log === undefined || request?.request.timeUs === undefined) return undefined;
  const ref = (line: number): Ref => logLine(line, a.log!.source);
  const steps: Step[] = [{ timeUs: request.request.timeUs, what: 'the request', ref: ref(request.request.line) }];
  if (request.endTimeUs !== undefined && request.endLine !== request.request.line)
    steps.push({ timeUs: request.endTimeUs, what: 'the call of its handler', ref: ref(request.endLine) });
  const ring = tx.kind === 'ring' ? tx.place.value?.place : undefined;
  const bytes = ring?.descriptorBytes ?? 1;
  const asked = (d: DmDma): string =>
    d.gpa === tx.descriptor.buffer.value
      ? 'the frame'
      : ring !== undefined && d.gpa >= ring.base && d.gpa < ring.base + bytes * (ring.count ?? 0)
        ? `descriptor ${Math.floor((d.gpa - ring.base) / bytes)}`
        : hex(d.gpa);
  for (const d of tx.doorbellDma) {
    if (d.timeUs === undefined) continue;
    steps.push({ timeUs: d.timeUs, what: `the question where ${asked(d)} is mapped`, ref: ref(d.line) });
    if (d.returnTimeUs !== undefined)
      steps.push({
        timeUs: d.returnTimeUs,
        what: `the map cache's answer for ${asked(d)}`,
        ref: ref(d.line + (d.remapIndex === undefined ? 1 : 2)),
      });
  }
  if (steps.length < 3) return undefined;
  let longest = 1;
  for (let i = 2; i < steps.length; i++)
    if (steps[i]!.timeUs - steps[i - 1]!.timeUs > steps[longest]!.timeUs - steps[longest - 1]!.timeUs) longest = i;
  const whole = steps[steps.length - 1]!.timeUs - steps[0]!.timeUs;
  const pause = steps[longest]!.timeUs - steps[longest - 1]!.timeUs;
  if (whole === 0) return undefined;
  const frame = tx.frame.value;
  const frameUs = (frame?.timeUs ?? 0) - (a.capture.offset.value ?? 0);
  const left =
    frame !== undefined && frameUs >= steps[longest - 1]!.timeUs && frameUs <= steps[longest]!.timeUs + 1
      ? `; frame ${frame.number} left in it`
      : '';
  const longestText =
    pause < SHORT_US
      ? ''
      : ` The longest pause, ${pause.toFixed(0)} µs, lies between ${steps[longest - 1]!.what} and ${steps[longest]!.what}${left}.`;
  return say(
    `The device model's lines for it span ${whole.toFixed(0)} µs by the log's clock${around(a, tx.access, steps)}.${longestText}`,
    a.clock?.by === 'pairs' ? 'strong' : 'proven',
    (pause < SHORT_US ? [0, steps.length - 1] : [0, longest - 1, longest, steps.length - 1]).map((i) => steps[i]!.ref),
  );
}

/** What the lines leave of the wait, before the first and after the last, where the clocks are laid over each other. */
function around(a: Guest, access: IoAccess | undefined, steps: readonly Step[]): string {
  const from = access?.marks.modelRuns ?? access?.marks.notified ?? access?.marks.blocked;
  const until = access?.marks.woken;
  if (a.clock === undefined || from === undefined || until === undefined || access?.lost !== undefined) return '';
  const before = steps[0]!.timeUs + a.clock.lineUs - traceToWallUs(a.clock, from.timeNs);
  const after = traceToWallUs(a.clock, until.timeNs) - steps[steps.length - 1]!.timeUs - a.clock.lineUs;
  if (before < -a.clock.errorUs || after < -a.clock.errorUs) return '';
  const since =
    access?.marks.modelRuns !== undefined
      ? 'after its vCPU ran'
      : access?.marks.notified !== undefined
        ? 'after the notification'
        : 'after the guest began to wait';
  const tell = (value: number): string => `${Math.max(0, value).toFixed(a.clock!.errorUs < 10 ? 1 : 0)} µs`;
  return `; the first comes ${tell(before)} ${since}, the last ${tell(after)} before the answer, both ${a.clock.errorUs === 0 ? 'exactly' : `±${errorUsText(a.clock)} µs`}`;
}

/** A pause between lines that show whole microseconds is none below this. */
const SHORT_US = 3;
