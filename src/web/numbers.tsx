/** The numbers of the whole: tables that sort, and a plot of what is chosen in them. */
import { signal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Lane } from '../library/index.ts';
import { select, summary } from './state.ts';

const us = (ns: number | undefined): string => (ns === undefined ? '' : (ns / 1000).toFixed(1));

interface Sorting {
  readonly column: string;
  readonly down: boolean;
}
const sorting = signal<Sorting>({ column: 'total', down: true });
/** Which spans are plotted: their lanes' kind, and their label. */
const plotted = signal<{ readonly kind: Lane['kind']; readonly label: string } | undefined>(undefined);

function SortedTable<Row extends object>({
  caption,
  rows,
  columns,
  choose,
  isChosen,
}: {
  readonly caption: string;
  readonly rows: readonly Row[];
  readonly columns: Readonly<Record<string, (row: Row) => string | number | undefined>>;
  choose(row: Row): void;
  isChosen(row: Row): boolean;
}) {
  const { column, down } = sorting.value;
  const value = columns[column] ?? Object.values(columns)[0]!;
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [value(a) ?? -1, value(b) ?? -1];
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
  return (
    <table>
      <caption>{caption}</caption>
      <thead>
        <tr>
          {Object.keys(columns).map((name) => (
            <th key={name} aria-sort={name === column ? (down ? 'descending' : 'ascending') : 'none'}>
              <button type="button" onClick={() => void (sorting.value = { column: name, down: name === column ? !down : true })}>
                {name}
                {name === column ? (down ? ' ▾' : ' ▴') : ''}
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {sorted.slice(0, 500).map((row, i) => (
          <tr key={i} class={isChosen(row) ? 'chosen' : ''}>
            {Object.entries(columns).map(([name, of], at) => {
              const cell = of(row);
              return (
                <td key={name} class={typeof cell === 'number' ? 'figure' : ''}>
                  {at === 0 ? (
                    <button type="button" class="address" onClick={() => choose(row)} title="Plot it">
                      {cell}
                    </button>
                  ) : typeof cell === 'number' && name !== 'count' ? (
                    us(cell)
                  ) : (
                    cell
                  )}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Points that a plot gets at most: of each slice of time the longest span is kept, so that no outlier is lost. */
const MOST_POINTS = 4000;

interface Points {
  readonly ms: Float64Array;
  readonly us: Float64Array;
  readonly offset: Float64Array;
  readonly all: number;
}

function pointsOf(kind: Lane['kind'], label: string): Points {
  const { lanes = [], endNs = 1 } = summary.value?.timeline ?? {};
  const chosen = lanes.flatMap((lane) => {
    const number = lane.kind === kind ? lane.labels.indexOf(label) : -1;
    return number < 0 ? [] : [{ lane, number }];
  });
  const each = (visit: (lane: Lane, i: number) => void): void => {
    for (const { lane, number } of chosen)
      for (let i = 0; i < lane.start.length; i++) if (lane.label[i] === number) visit(lane, i);
  };
  let all = 0;
  each(() => all++);
  /** By slice of time, or all where there are few. */
  const kept = new Map<number, { readonly lane: Lane; readonly i: number }>();
  let next = 0;
  each((lane, i) => {
    const slice = all <= MOST_POINTS ? next++ : Math.floor((lane.start[i]! / endNs) * MOST_POINTS);
    const other = kept.get(slice);
    if (other === undefined || lane.end[i]! - lane.start[i]! > other.lane.end[other.i]! - other.lane.start[other.i]!)
      kept.set(slice, { lane, i });
  });
  const points = [...kept.values()].sort((a, b) => a.lane.start[a.i]! - b.lane.start[b.i]!);
  return {
    ms: Float64Array.from(points, ({ lane, i }) => lane.start[i]! / 1e6),
    us: Float64Array.from(points, ({ lane, i }) => Math.max((lane.end[i]! - lane.start[i]!) / 1000, 0.001)),
    offset: Float64Array.from(points, ({ lane, i }) => lane.offset[i]!),
    all,
  };
}

function Plot() {
  const box = useRef<HTMLDivElement>(null);
  const what = plotted.value;
  const all = summary.value;
  // The summary is what the spans come from.
  const points = useMemo(() => what && pointsOf(what.kind, what.label), [what, all]);
  useEffect(() => {
    if (what === undefined || points === undefined || box.current === null) return undefined;
    const style = getComputedStyle(box.current);
    const ink = style.getPropertyValue('--ink');
    const line = style.getPropertyValue('--line');
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const plot = new uPlot(
      {
        width: box.current.clientWidth,
        height: 260,
        scales: { x: { time: false }, y: { distr: 3 } },
        axes: [
          { ...axis, values: (_, marks) => marks.map((mark) => `${mark} ms`) },
          { ...axis, size: 84, values: (_, marks) => marks.map((mark) => (mark === null ? '' : `${mark} µs`)) },
        ],
        cursor: { drag: { x: true, y: false } },
        legend: { show: false },
        series: [
          {},
          {
            paths: () => null,
            points: { show: true, size: 5, width: 0, fill: style.getPropertyValue(what.kind === 'xen' ? '--xen' : '--dm') },
          },
        ],
        hooks: {
          init: [
            (made) =>
              made.over.addEventListener('click', () => {
                const i = made.cursor.idx;
                if (i !== null && i !== undefined)
                  void select({ file: 'trace', unit: 'offset', at: points.offset[i]! }, points.ms[i]! * 1e6);
              }),
          ],
        },
      },
      [points.ms, points.us],
      box.current,
    );
    const resize = new ResizeObserver(([entry]) => plot.setSize({ width: entry!.contentRect.width, height: 260 }));
    resize.observe(box.current);
    return () => {
      resize.disconnect();
      plot.destroy();
    };
  }, [what, points]);
  if (what === undefined)
    return <p class="note plot">Choose a row: each of its accesses becomes a point. A click on a point selects it.</p>;
  return (
    <figure class="plot">
      <figcaption>
        {what.label}: time from exit to entry, over the trace
        {points !== undefined && points.all > points.ms.length && `; of ${points.all}, the longest of each moment`}
      </figcaption>
      <div ref={box} role="img" aria-label={`How long each ${what.label} took, over time`} />
    </figure>
  );
}

export function Numbers() {
  const found = summary.value;
  if (found === undefined)
    return (
      <section class="pane numbers" aria-labelledby="numbers-title">
        <h2 id="numbers-title">Numbers</h2>
        <p class="note">Exits by reason and the dearest registers, in microseconds.</p>
      </section>
    );
  const { value: chosen } = plotted;
  const plotRegister = ({ register, write }: { register: string; write: boolean }): string =>
    `${write ? 'write' : 'read'} ${register.slice(register.indexOf(' ') + 1)}`;
  return (
    <section class="pane numbers" aria-labelledby="numbers-title">
      <h2 id="numbers-title">Numbers</h2>
      <div class="columns">
        <div class="scroll">
          <SortedTable
            caption="Registers, exit to entry (µs)"
            rows={found.registers}
            columns={{
              register: (r) => `${r.register} ${r.write ? 'write' : 'read'}`,
              route: (r) => r.route,
              count: (r) => r.count,
              total: (r) => r.total,
              median: (r) => r.median,
              p99: (r) => r.p99,
            }}
            choose={(r) => void (plotted.value = { kind: 'access', label: plotRegister(r) })}
            isChosen={(r) => chosen?.kind === 'access' && chosen.label === plotRegister(r)}
          />
        </div>
        <div class="scroll">
          <SortedTable
            caption="VM exits, until the next entry (µs)"
            rows={found.exits}
            columns={{ reason: (r) => r.reason, count: (r) => r.count, total: (r) => r.total, mean: (r) => r.total / r.count }}
            choose={(r) => void (plotted.value = { kind: 'xen', label: r.reason })}
            isChosen={(r) => chosen?.kind === 'xen' && chosen.label === r.reason}
          />
        </div>
      </div>
      <Plot />
    </section>
  );
}
