/** The story of a packet: steps with who acts and what each rests on, the questions answered, where the time went. */
import { type Hop, type Ref, formatRef, type Sentence } from '../library/index.ts';
import { keep } from './notebook.tsx';
import { compare, compared, hop, originOf, packet, select, selection, story, summary, tell } from './state.ts';

function Evidence({ refs, ns }: { readonly refs: readonly Ref[]; readonly ns?: number | undefined }) {
  return (
    <span class="refs">
      {refs.slice(0, 12).map((ref) => (
        <button
          type="button"
          key={formatRef(ref)}
          aria-pressed={selection.value.ref?.at === ref.at && selection.value.ref.file === ref.file}
          onClick={() => void select(ref, ns)}
        >
          {formatRef(ref)}
        </button>
      ))}
    </span>
  );
}

function Sentences({
  title,
  list,
  open = true,
}: {
  readonly title: string;
  readonly list: readonly Sentence[];
  readonly open?: boolean;
}) {
  if (list.length === 0) return null;
  return (
    <details open={open}>
      <summary>{title}</summary>
      <ul>
        {list.map((sentence) => (
          <li key={sentence.text}>
            {sentence.text} {sentence.strength !== 'proven' && <em class="strength">{sentence.strength}</em>}{' '}
            <Evidence refs={sentence.refs} />
          </li>
        ))}
      </ul>
    </details>
  );
}

export function Packets() {
  const frames = summary.value?.frames ?? [];
  return (
    <section class="pane packets" aria-labelledby="packets-title">
      <h2 id="packets-title">Packets</h2>
      {frames.length === 0 ? (
        <p class="note">Run the machine, or drop files, and its packets stand here.</p>
      ) : (
        <ol>
          {frames.slice(0, 2000).map(({ number, what, bytes, direction }) => (
            <li key={number}>
              <button
                type="button"
                class="packet"
                aria-current={packet.value === number ? 'true' : undefined}
                onClick={() => void tell(number)}
              >
                <span class="number">{number}</span> <span aria-hidden="true">{direction === 'inbound' ? '↓' : '↑'}</span> {what},{' '}
                {bytes} bytes
              </button>
              {packet.value !== undefined && packet.value !== number && (
                <button
                  type="button"
                  class="ask"
                  aria-pressed={compared.value?.packet === number}
                  title={`Compare packet ${number} with packet ${packet.value}`}
                  onClick={() => void compare(compared.value?.packet === number ? undefined : number)}
                >
                  ⇄
                </button>
              )}
            </li>
          ))}
        </ol>
      )}
      {frames.length > 2000 && <p class="note">{frames.length - 2000} packets more are not listed; search finds them.</p>}
    </section>
  );
}

/** Whose colour a step has. */
export const actorOf = (where: string): string => where.split(' ')[0]!;

/** Whose time follows a step: the wire takes none, and the device model goes on. */
const workerOf = (where: string): string => (where === 'wire' ? 'device' : actorOf(where));

interface Part {
  readonly from: Hop;
  readonly ns: number;
}

/** Time from one step to the next, from the exit to the guest's return. */
function partsOf(hops: readonly Hop[]): Part[] {
  const timed = hops.filter((step) => step.atNs !== undefined);
  const back = timed.findIndex(({ text }) => text.startsWith('enters the guest again'));
  const way = back < 0 ? timed : timed.slice(0, back + 1);
  return way.flatMap((from, i) => {
    const next = way[i + 1];
    return next === undefined ? [] : [{ from, ns: next.atNs! - from.atNs! }];
  });
}

/** Where the time went, step by step, against others of its kind. */
function TimeBar({ hops }: { readonly hops: readonly Hop[] }) {
  const parts = partsOf(hops);
  const total = parts.reduce((sum, { ns }) => sum + ns, 0);
  if (total <= 0) return null;
  const register = /: (\w+)/.exec(hops.find(({ where }) => where === 'Xen')?.text ?? '')?.[1];
  const kind = summary.value?.registers.find(
    (row) => row.write && register !== undefined && row.register.endsWith(` ${register}`),
  );
  const text = (ns: number | undefined): string => (ns === undefined ? '?' : `${(ns / 1000).toFixed(1)} µs`);
  return (
    <figure class="bar">
      <div role="img" aria-label={`${text(total)} from exit to entry`}>
        {parts.map(({ from, ns }, i) => (
          <button
            type="button"
            key={i}
            class={workerOf(from.where)}
            style={{ flexGrow: ns }}
            title={`${from.where} ${from.text.slice(0, 80)} … ${text(ns)}`}
            aria-label={`${from.where}, ${text(ns)}`}
            onClick={() => void select(from.refs[0])}
          />
        ))}
      </div>
      <figcaption>
        {text(total)} from exit to entry
        {kind !== undefined &&
          `; ${kind.count} writes of ${kind.register} have the median ${text(kind.median)} and the 99th percentile ${text(kind.p99)}`}
      </figcaption>
    </figure>
  );
}

export function StoryPane() {
  const told = story.value;
  if (told === undefined)
    return (
      <section class="pane story" aria-labelledby="story-title">
        <h2 id="story-title">Story</h2>
        <p class="note">The story of a packet begins with the register write that sends it. Choose a packet.</p>
      </section>
    );
  const timeOf = (ns: number | undefined): number | undefined =>
    ns === undefined || originOf.value === undefined ? undefined : originOf.value + ns;
  return (
    <section class="pane story" aria-labelledby="story-title">
      <div class="head">
        <h2 id="story-title">Story</h2>
        <button type="button" class="ask" onClick={keep} title="Keep the selected step in the notebook">
          keep in the notebook
        </button>
      </div>
      <h3>{told.title}</h3>
      {told.notes.map((note) => (
        <p class="note" key={note}>
          {note}
        </p>
      ))}
      <TimeBar hops={told.hops} />
      <ol class="hops">
        {told.hops.map((step, i) => (
          <li key={i} aria-current={hop.value === i ? 'step' : undefined} class={actorOf(step.where)}>
            <button
              type="button"
              class="step"
              onClick={() => {
                hop.value = i;
                void select(step.refs[0], timeOf(step.atNs));
              }}
            >
              <time>{step.atNs === undefined ? '' : `+${(step.atNs / 1000).toFixed(3)} µs`}</time> <b>{step.where}</b> {step.text}
            </button>{' '}
            {step.strength !== 'proven' && <em class="strength">{step.strength}</em>}{' '}
            <Evidence refs={step.refs} ns={timeOf(step.atNs)} />
          </li>
        ))}
      </ol>
      <Sentences title="Through which page did the request go?" list={told.route} />
      <Sentences title="Why a guest-physical address, and who translates?" list={told.translation} />
      <Sentences title="Where did the time go?" list={told.time} />
      <Sentences title="What the files do not show" list={told.unknowns} open={false} />
      <Sentences title="How the files were joined" list={told.joins} open={false} />
    </section>
  );
}
