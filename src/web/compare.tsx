/** Two packets side by side, aligned on the doorbell: what one has and the other lacks, and where it takes longer. */
import type { Hop } from '../library/index.ts';
import { actorOf } from './story.tsx';
import { compare, compared, packet, story } from './state.ts';

/** What a step is, without its numbers. */
const kindOf = ({ where, text }: Hop): string =>
  `${actorOf(where)} ${text
    .split(' ')
    .filter((word) => !/\d/.test(word))
    .slice(0, 3)
    .join(' ')}`;

/** Steps of both in pairs: the longest common row of kinds, with what only one has between. */
function align(a: readonly Hop[], b: readonly Hop[]): [Hop | undefined, Hop | undefined][] {
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i]![j] = kindOf(a[i]!) === kindOf(b[j]!) ? best[i + 1]![j + 1]! + 1 : Math.max(best[i + 1]![j]!, best[i]![j + 1]!);
  const rows: [Hop | undefined, Hop | undefined][] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && kindOf(a[i]!) === kindOf(b[j]!)) rows.push([a[i++], b[j++]]);
    else if (j >= b.length || (i < a.length && best[i + 1]![j]! >= best[i]![j + 1]!)) rows.push([a[i++], undefined]);
    else rows.push([undefined, b[j++]]);
  }
  return rows;
}

const us = (ns: number | undefined): string => (ns === undefined ? '' : `+${(ns / 1000).toFixed(1)}`);

function Step({ hop }: { readonly hop: Hop | undefined }) {
  return (
    <>
      <td class="figure">{us(hop?.atNs)}</td>
      <td class={`prose ${hop === undefined ? 'unknown' : actorOf(hop.where)}`}>
        {hop === undefined ? '—' : `${hop.where} ${hop.text}`}
      </td>
    </>
  );
}

export function Compare() {
  const other = compared.value;
  const told = story.value;
  if (other === undefined || told === undefined) return null;
  return (
    <section class="pane compare" aria-labelledby="compare-title">
      <div class="head">
        <h2 id="compare-title">
          Packet {packet.value} and packet {other.packet}
        </h2>
        <button type="button" onClick={() => void compare(undefined)}>
          Close
        </button>
      </div>
      <table>
        <thead>
          <tr>
            <th class="figure">µs</th>
            <th>{told.title}</th>
            <th class="figure">µs</th>
            <th>{other.story.title}</th>
            <th class="figure">later by</th>
          </tr>
        </thead>
        <tbody>
          {align(told.hops, other.story.hops).map(([a, b], i) => {
            const later = a?.atNs === undefined || b?.atNs === undefined ? undefined : b.atNs - a.atNs;
            return (
              <tr key={i}>
                <Step hop={a} />
                <Step hop={b} />
                <td class={`figure ${later !== undefined && Math.abs(later) > 1000 ? 'apart' : ''}`}>
                  {later === undefined ? '' : `${later >= 0 ? '+' : ''}${(later / 1000).toFixed(1)}`}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}
