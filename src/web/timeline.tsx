/** Lanes of a trace on a canvas: wheel and keys zoom and pan, a click selects. */
import { effect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Lane } from '../library/index.ts';
import { select, selection, story, summary, tell } from './state.ts';

const LANE_HEIGHT = 22;
const LEFT = 132;
const TOP = 22;

const RUNSTATES: Readonly<Record<string, string>> = {
  running: '--run',
  runnable: '--ready',
  blocked: '--idle',
  offline: '--wait',
};

/** First span that ends at or after `ns`. */
function firstFrom(lane: Lane, ns: number): number {
  let low = 0;
  let high = lane.end.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (lane.end[middle]! < ns) low = middle + 1;
    else high = middle;
  }
  return low;
}

const timeText = (ns: number): string =>
  ns >= 1e9 ? `${(ns / 1e9).toFixed(6)} s` : ns >= 1e6 ? `${(ns / 1e6).toFixed(4)} ms` : `${(ns / 1e3).toFixed(3)} µs`;

class View {
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

export function TimelinePane() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const label = useRef<HTMLOutputElement>(null);
  useEffect(() => {
    const node = canvas.current!;
    const view = new View();
    let wanted = false;
    const draw = (): void => {
      if (wanted) return;
      wanted = true;
      requestAnimationFrame(() => {
        wanted = false;
        paint(node, view);
      });
    };
    const nsAt = (x: number): number => view.from + ((x - LEFT) / (node.clientWidth - LEFT)) * (view.to - view.from);
    const stop = effect(() => {
      const found = summary.value?.timeline;
      if (found !== undefined && found.endNs !== view.end) {
        view.end = Math.max(1, found.endNs);
        view.show(0, view.end);
      }
      // The way of the packet that is told comes into view.
      const { ns } = selection.value;
      if (ns !== undefined && (ns < view.from || ns > view.to)) view.show(ns - 40_000, ns + 60_000);
      void story.value;
      draw();
    });
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) view.pan((event.deltaX || event.deltaY) / 800);
      else view.zoom(1.0015 ** event.deltaY, nsAt(event.offsetX));
      draw();
    };
    const keys: Readonly<Record<string, () => void>> = {
      w: () => view.zoom(0.7, (view.from + view.to) / 2),
      s: () => view.zoom(1.4, (view.from + view.to) / 2),
      a: () => view.pan(-0.2),
      d: () => view.pan(0.2),
      Home: () => view.show(0, view.end),
    };
    const key = (event: KeyboardEvent): void => {
      const does = keys[{ ArrowLeft: 'a', ArrowRight: 'd', ArrowUp: 'w', ArrowDown: 's' }[event.key] ?? event.key];
      if (does === undefined) return;
      event.preventDefault();
      does();
      draw();
    };
    const hit = (event: MouseEvent): { lane: Lane; i: number } | { frame: number } | undefined => {
      const row = Math.floor((event.offsetY - TOP) / LANE_HEIGHT);
      const lanes = summary.value?.timeline?.lanes ?? [];
      const ns = nsAt(event.offsetX);
      const reach = ((view.to - view.from) / node.clientWidth) * 6;
      const lane = lanes[row];
      if (lane === undefined) {
        const near = (summary.value?.frames ?? []).filter((f) => f.ns !== undefined && Math.abs(f.ns - ns) < reach);
        near.sort((a, b) => Math.abs(a.ns! - ns) - Math.abs(b.ns! - ns));
        return row === lanes.length && near[0] !== undefined ? { frame: near[0].number } : undefined;
      }
      const i = firstFrom(lane, ns - (lane.kind === 'interrupt' ? reach : 0));
      return i < lane.start.length && lane.start[i]! <= ns + reach ? { lane, i } : undefined;
    };
    const click = (event: MouseEvent): void => {
      const found = hit(event);
      if (found === undefined) return;
      if ('frame' in found) void tell(found.frame);
      else void select({ file: 'trace', unit: 'offset', at: found.lane.offset[found.i]! }, found.lane.start[found.i]!);
    };
    const move = (event: MouseEvent): void => {
      const found = hit(event);
      const what =
        found === undefined
          ? ''
          : 'frame' in found
            ? (summary.value?.frames.find(({ number }) => number === found.frame)?.what ?? '')
            : `${found.lane.name}: ${found.lane.labels[found.lane.label[found.i]!]}, ${timeText(found.lane.end[found.i]! - found.lane.start[found.i]!)}`;
      label.current!.textContent = `${timeText(nsAt(event.offsetX))}  ${what}`;
    };
    const resize = new ResizeObserver(draw);
    resize.observe(node);
    node.addEventListener('wheel', wheel, { passive: false });
    node.addEventListener('keydown', key);
    node.addEventListener('click', click);
    node.addEventListener('mousemove', move);
    return () => {
      stop();
      resize.disconnect();
    };
  }, []);
  const rows = (summary.value?.timeline?.lanes.length ?? 0) + 1;
  return (
    <section class="pane timeline" aria-labelledby="timeline-title">
      <h2 id="timeline-title">
        Timeline <output class="hover" ref={label} />
      </h2>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="img"
        aria-label="Timeline of the trace: W and S zoom, A and D pan, Home shows all, a click selects"
        style={{ height: `${TOP + rows * LANE_HEIGHT + 6}px` }}
      />
      {summary.value?.timeline?.cut && <p class="note">The trace holds more spans than are drawn: the end is left out.</p>}
    </section>
  );
}

function paint(node: HTMLCanvasElement, view: View): void {
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
  const ink = colour('--ink');
  const soft = colour('--soft');

  // Time's axis.
  const step = 10 ** Math.ceil(Math.log10(90 / perNs));
  c.fillStyle = soft;
  for (let ns = Math.ceil(view.from / step) * step; ns < view.to; ns += step) {
    c.fillRect(x(ns), TOP - 4, 1, height - TOP);
    c.fillText(timeText(Math.max(0, ns)), x(ns) + 3, 10);
  }

  const lanes = summary.value?.timeline?.lanes ?? [];
  lanes.forEach((lane, row) => {
    const y = TOP + row * LANE_HEIGHT;
    c.save();
    c.beginPath();
    c.rect(LEFT, y, width - LEFT, LANE_HEIGHT);
    c.clip();
    // Of spans that share a pixel one is drawn: the loop is bounded by the canvas' width.
    let painted = -1;
    for (let i = firstFrom(lane, view.from); i < lane.start.length && lane.start[i]! <= view.to; ) {
      const left = x(lane.start[i]!);
      const right = Math.max(left + 1, x(lane.end[i]!));
      const name = lane.labels[lane.label[i]!]!;
      if (right > painted) {
        c.fillStyle =
          lane.kind === 'runstate'
            ? colour(RUNSTATES[name] ?? '--idle')
            : colour(lane.kind === 'xen' ? '--xen' : lane.kind === 'lost' ? '--lost' : '--irq');
        const inset = lane.kind === 'runstate' && name !== 'running' ? 8 : 4;
        c.fillRect(left, y + inset, right - left, LANE_HEIGHT - 2 * inset);
        painted = Math.ceil(right);
        if (right - left > 70 && lane.kind !== 'interrupt') {
          c.fillStyle = lane.kind === 'runstate' && name !== 'running' ? ink : colour('--on');
          if (inset === 4) c.fillText(name, Math.max(left, LEFT) + 4, y + LANE_HEIGHT / 2, right - left - 8);
        }
      }
      i = right - left <= 1 ? Math.max(i + 1, firstFrom(lane, view.from + (painted - LEFT) / perNs)) : i + 1;
    }
    c.restore();
    c.fillStyle = ink;
    c.fillText(lane.name, 8, y + LANE_HEIGHT / 2, LEFT - 12);
  });

  // The wire.
  const wire = TOP + lanes.length * LANE_HEIGHT;
  c.fillStyle = ink;
  c.fillText('wire', 8, wire + LANE_HEIGHT / 2);
  for (const { ns, number, direction } of summary.value?.frames ?? []) {
    if (ns === undefined || ns < view.from || ns > view.to) continue;
    const at = x(ns);
    const isTold = number === (story.value && selection.value.ref?.unit === 'frame' ? selection.value.ref.at : -1);
    c.fillStyle = colour(isTold ? '--mark' : '--wire');
    c.beginPath();
    const tip = direction === 'inbound' ? -1 : 1;
    const middle = wire + LANE_HEIGHT / 2;
    c.moveTo(at, middle + tip * 7);
    c.lineTo(at - 5, middle - tip * 5);
    c.lineTo(at + 5, middle - tip * 5);
    c.fill();
  }

  const { ns } = selection.value;
  if (ns !== undefined && ns >= view.from && ns <= view.to) {
    c.fillStyle = colour('--mark');
    c.fillRect(x(ns) - 0.5, TOP - 6, 1.5, height - TOP + 6);
  }
}
