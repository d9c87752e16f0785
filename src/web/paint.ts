/** The picture of a trace: lanes of spans, the wire, and the way of the packet that is told. */
import type { Lane } from '../library/index.ts';
import { hop, originOf, packet, selection, story, summary } from './state.ts';

export const LANE_HEIGHT = 22;
export const LEFT = 132;
export const TOP = 22;

const RUNSTATES: Readonly<Record<string, string>> = {
  running: '--run',
  runnable: '--ready',
  blocked: '--idle',
  offline: '--wait',
};

const COLOURS: Readonly<Record<Lane['kind'], string>> = {
  pcpu: '--run',
  runstate: '--idle',
  xen: '--xen',
  access: '--dm',
  interrupt: '--irq',
  lost: '--lost',
};

/** First span that ends at or after `ns`. */
export function firstFrom(lane: Lane, ns: number): number {
  let low = 0;
  let high = lane.end.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (lane.end[middle]! < ns) low = middle + 1;
    else high = middle;
  }
  return low;
}

export const timeText = (ns: number): string =>
  ns >= 1e9 ? `${(ns / 1e9).toFixed(6)} s` : ns >= 1e6 ? `${(ns / 1e6).toFixed(4)} ms` : `${(ns / 1e3).toFixed(3)} µs`;

/** What stands at a mark of the axis, whose neighbours are `step` away. */
function axisText(ns: number, step: number): string {
  const [unit, name] = ns >= 1e9 ? [1e9, 's'] : ns >= 1e6 ? [1e6, 'ms'] : [1e3, 'µs'];
  return `${(ns / unit).toFixed(Math.max(0, Math.ceil(Math.log10(unit / step))))} ${name}`;
}

/** The part of time that is shown. */
export class View {
  from = 0;
  to = 1;
  end = 1;

  show(from: number, to: number): void {
    const span = Math.min(Math.max(to - from, 200), this.end * 1.1);
    this.from = Math.max(-span * 0.05, Math.min(from, this.end * 1.05 - span));
    this.to = this.from + span;
  }

  zoom(factor: number, at: number): void {
    this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  pan(part: number): void {
    const by = (this.to - this.from) * part;
    this.show(this.from + by, this.to + by);
  }
}

/** From the first step of the told packet to its last, in trace time. */
export function wayOf(): { from: number; to: number } | undefined {
  const origin = originOf.value;
  const times = story.value?.hops.flatMap(({ atNs }) => (atNs === undefined ? [] : [atNs])) ?? [];
  return origin === undefined || times.length === 0
    ? undefined
    : { from: origin + Math.min(...times), to: origin + Math.max(...times) };
}

/** Lane in which a step of a story happens; as many as there are lanes: the wire. */
function laneOf(where: string, lanes: readonly Lane[]): number {
  if (where === 'wire') return lanes.length;
  const vcpu = /d\d+v\d+/.exec(where)?.[0];
  if (where.startsWith('Xen')) return lanes.findIndex(({ kind, name }) => kind === 'xen' && !name.startsWith('d0'));
  const named = lanes.findIndex(({ name, kind }) => kind === 'runstate' && name === vcpu);
  // The device model runs in dom0.
  return named >= 0 || where.startsWith('guest')
    ? named
    : lanes.findIndex(({ name, kind }) => kind === 'runstate' && name.startsWith('d0'));
}

/** Draws a view. Its cost is bounded by the canvas' width, whatever the trace holds. */
export function paint(node: HTMLCanvasElement, view: View): void {
  const { clientWidth: width, clientHeight: height } = node;
  const scale = devicePixelRatio;
  if (node.width !== Math.round(width * scale) || node.height !== Math.round(height * scale)) {
    node.width = Math.round(width * scale);
    node.height = Math.round(height * scale);
  }
  const c = node.getContext('2d')!;
  const style = getComputedStyle(node);
  const colour = (name: string): string => style.getPropertyValue(name);
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = '12px system-ui, sans-serif';
  c.textBaseline = 'middle';
  const perNs = (width - LEFT) / (view.to - view.from);
  const x = (ns: number): number => LEFT + (ns - view.from) * perNs;
  const lanes = summary.value?.timeline?.lanes ?? [];

  // Time's axis: marks at 1, 2 or 5 times a power of ten.
  const least = 90 / perNs;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((by) => by * power).find((one) => one >= least)!;
  for (let ns = Math.ceil(Math.max(0, view.from) / step) * step; ns < view.to; ns += step) {
    c.fillStyle = colour('--line');
    c.fillRect(x(ns), TOP - 4, 1, height - TOP);
    c.fillStyle = colour('--soft');
    c.fillText(axisText(ns, step), x(ns) + 3, 10);
  }

  lanes.forEach((lane, row) => {
    paintLane(c, lane, TOP + row * LANE_HEIGHT, width, view, x, colour);
    c.fillStyle = colour('--ink');
    c.fillText(lane.name, 8, TOP + row * LANE_HEIGHT + LANE_HEIGHT / 2, LEFT - 12);
  });
  paintWire(c, TOP + lanes.length * LANE_HEIGHT, view, x, colour);
  paintWay(c, lanes, x, colour);

  const { ns } = selection.value;
  if (ns !== undefined && ns >= view.from && ns <= view.to) {
    c.fillStyle = colour('--mark');
    c.fillRect(x(ns) - 0.75, TOP - 6, 1.5, height - TOP + 6);
  }
}

type Scale = (ns: number) => number;
type Colour = (name: string) => string;

function paintLane(
  c: CanvasRenderingContext2D,
  lane: Lane,
  y: number,
  width: number,
  view: View,
  x: Scale,
  colour: Colour,
): void {
  c.save();
  c.beginPath();
  c.rect(LEFT, y, width - LEFT, LANE_HEIGHT);
  c.clip();
  const perNs = (width - LEFT) / (view.to - view.from);
  let painted = -1;
  for (let i = firstFrom(lane, view.from); i < lane.start.length && lane.start[i]! <= view.to; ) {
    const left = x(lane.start[i]!);
    const right = Math.max(left + 1, x(lane.end[i]!));
    const name = lane.labels[lane.label[i]!]!;
    // Of spans that share a pixel one is drawn.
    if (right > painted) {
      const isFaint = lane.kind === 'runstate' && name !== 'running';
      const inset = isFaint ? 8 : 4;
      c.fillStyle = colour(lane.kind === 'runstate' ? (RUNSTATES[name] ?? '--idle') : COLOURS[lane.kind]);
      c.fillRect(left, y + inset, right - left, LANE_HEIGHT - 2 * inset);
      if (lane.kind === 'lost')
        hatch(c, Math.max(left, LEFT), y + inset, Math.min(right, width), LANE_HEIGHT - 2 * inset, colour('--ink'));
      // The border between two spans that touch.
      if (right - left > 3 && !isFaint) {
        c.fillStyle = colour('--pane');
        c.fillRect(right - 1, y + inset, 1, LANE_HEIGHT - 2 * inset);
      }
      painted = Math.ceil(right);
      if (right - left > 60 && lane.kind !== 'interrupt' && !isFaint) {
        c.fillStyle = colour('--on');
        c.fillText(name, Math.max(left, LEFT) + 4, y + LANE_HEIGHT / 2 + 0.5, right - Math.max(left, LEFT) - 8);
      }
    }
    i = right - left <= 1 ? Math.max(i + 1, firstFrom(lane, view.from + (painted - LEFT) / perNs)) : i + 1;
  }
  c.restore();
}

/** Slanted lines: nothing is known there. */
function hatch(c: CanvasRenderingContext2D, left: number, top: number, right: number, height: number, ink: string): void {
  c.save();
  c.beginPath();
  c.rect(left, top, right - left, height);
  c.clip();
  c.strokeStyle = ink;
  c.globalAlpha = 0.45;
  c.beginPath();
  for (let at = left - height; at < right; at += 6) {
    c.moveTo(at, top + height);
    c.lineTo(at + height, top);
  }
  c.stroke();
  c.restore();
}

function paintWire(c: CanvasRenderingContext2D, y: number, view: View, x: Scale, colour: Colour): void {
  const middle = y + LANE_HEIGHT / 2;
  c.fillStyle = colour('--ink');
  c.fillText('wire', 8, middle);
  let painted = -Infinity;
  for (const { ns, number, direction } of summary.value?.frames ?? []) {
    if (ns === undefined || ns < view.from || ns > view.to) continue;
    const at = x(ns);
    const isTold = number === packet.value;
    if (at < painted + 1 && !isTold) continue;
    painted = at;
    c.fillStyle = colour(isTold ? '--mark' : '--wire');
    c.beginPath();
    const tip = direction === 'inbound' ? -1 : 1;
    c.moveTo(at, middle + tip * 7);
    c.lineTo(at - 5, middle - tip * 5);
    c.lineTo(at + 5, middle - tip * 5);
    c.fill();
  }
}

/** One arrow from each step of the told packet to the next; a step whose time is not known to the point gets a hatched band. */
function paintWay(c: CanvasRenderingContext2D, lanes: readonly Lane[], x: Scale, colour: Colour): void {
  const origin = originOf.value;
  if (origin === undefined) return;
  let last: { x: number; y: number } | undefined;
  story.value?.hops.forEach(({ where, atNs, errorNs }, i) => {
    const row = laneOf(where, lanes);
    if (atNs === undefined || row < 0) return;
    const at = { x: x(origin + atNs), y: TOP + row * LANE_HEIGHT + LANE_HEIGHT / 2 };
    const reach = x(origin + atNs + errorNs) - at.x;
    if (reach > 3) hatch(c, Math.max(LEFT, at.x - reach), at.y - 6, at.x + reach, 12, colour('--ink'));
    if (at.x < LEFT) {
      last = at;
      return;
    }
    c.strokeStyle = c.fillStyle = colour('--mark');
    c.lineWidth = 1.25;
    if (last !== undefined && (last.y !== at.y || at.x - last.x > 4)) {
      c.beginPath();
      c.moveTo(Math.max(LEFT, last.x), last.y);
      c.lineTo(at.x, at.y);
      c.stroke();
    }
    c.beginPath();
    c.arc(at.x, at.y, hop.value === i ? 5 : 2.75, 0, 7);
    c.fill();
    last = at;
  });
  c.lineWidth = 1;
}
