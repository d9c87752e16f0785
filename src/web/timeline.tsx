/** Lanes of a trace on a canvas: wheel and keys zoom and pan, a click selects. */
import { effect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Lane, Timeline } from '../library/index.ts';
import { firstFrom, LANE_HEIGHT, LEFT, paint, timeText, TOP, View, wayOf } from './paint.ts';
import { hop, selection, select, story, summary, tell } from './state.ts';

export function TimelinePane() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const label = useRef<HTMLOutputElement>(null);
  useEffect(() => {
    const node = canvas.current!;
    const view = new View();
    let wanted = false;
    let shown = story.peek();
    let lanes: Timeline | undefined;
    const draw = (): void => {
      if (wanted) return;
      wanted = true;
      requestAnimationFrame(() => {
        wanted = false;
        paint(node, view);
      });
    };
    const showWay = (): void => {
      const way = wayOf();
      if (way === undefined) return;
      const margin = Math.max((way.to - way.from) * 0.15, 1000);
      view.show(way.from - margin, way.to + margin);
    };
    const nsAt = (x: number): number => view.from + ((x - LEFT) / (node.clientWidth - LEFT)) * (view.to - view.from);
    const stop = effect(() => {
      const found = summary.value?.timeline;
      if (found !== undefined && found !== lanes) {
        lanes = found;
        view.end = Math.max(1, found.endNs);
        view.show(0, view.end);
        showWay();
      }
      // The way of the packet that is told comes into view whole.
      const told = story.value;
      const { ns } = selection.value;
      if (told !== shown) {
        shown = told;
        showWay();
      }
      const span = view.to - view.from;
      if (ns !== undefined && (ns < view.from || ns > view.to)) view.show(ns - span * 0.4, ns + span * 0.6);
      void hop.value;
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
      p: () => showWay(),
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
    const down = (): void => void (dragged = 0);
    const click = (event: MouseEvent): void => {
      // The end of a drag selects nothing.
      const found = dragged > 4 ? undefined : hit(event);
      if (found === undefined) return;
      if ('frame' in found) void tell(found.frame);
      else void select({ file: 'trace', unit: 'offset', at: found.lane.offset[found.i]! }, found.lane.start[found.i]!);
    };
    let dragged = 0;
    const move = (event: MouseEvent): void => {
      if (event.buttons === 1) {
        dragged += Math.abs(event.movementX);
        view.pan(-event.movementX / (node.clientWidth - LEFT));
        draw();
        return;
      }
      const found = hit(event);
      const what =
        found === undefined
          ? ''
          : 'frame' in found
            ? (summary.value?.frames.find(({ number }) => number === found.frame)?.what ?? '')
            : `${found.lane.name}: ${found.lane.labels[found.lane.label[found.i]!]}, ${timeText(found.lane.end[found.i]! - found.lane.start[found.i]!)}`;
      label.current!.textContent = `${timeText(nsAt(event.offsetX))}  ${what}`;
    };
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    const resize = new ResizeObserver(draw);
    resize.observe(node);
    node.addEventListener('wheel', wheel, { passive: false });
    node.addEventListener('keydown', key);
    node.addEventListener('mousedown', down);
    node.addEventListener('click', click);
    node.addEventListener('mousemove', move);
    return () => {
      stop();
      dark.removeEventListener('change', draw);
      resize.disconnect();
    };
  }, []);
  const rows = (summary.value?.timeline?.lanes.length ?? 0) + 1;
  return (
    <section class="pane timeline" aria-labelledby="timeline-title">
      <div class="head">
        <h2 id="timeline-title">Timeline</h2>
        <output class="hover" ref={label} />
        <small class="keys">
          <kbd>wheel</kbd> or <kbd>W</kbd> <kbd>S</kbd> zoom · drag or <kbd>A</kbd> <kbd>D</kbd> pan · <kbd>Home</kbd> all ·{' '}
          <kbd>P</kbd> the packet
        </small>
      </div>
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
