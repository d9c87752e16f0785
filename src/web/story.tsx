/** The story of a packet: steps with who acts and what each rests on, the questions answered, addresses space by space. */
import { type Claim, formatRef, type Ref, type Sentence } from '../library/index.ts';
import { hop, packet, select, selection, story, summary, tell } from './state.ts';

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

function Sentences({ title, list }: { readonly title: string; readonly list: readonly Sentence[] }) {
  if (list.length === 0) return null;
  return (
    <details open>
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
              <button type="button" aria-current={packet.value === number ? 'true' : undefined} onClick={() => void tell(number)}>
                <span class="number">{number}</span> <span aria-hidden="true">{direction === 'inbound' ? '↓' : '↑'}</span> {what},{' '}
                {bytes} bytes
              </button>
            </li>
          ))}
        </ol>
      )}
    </section>
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
  const at = summary.value?.frames.find(({ number }) => number === packet.value)?.ns;
  const frameHop = told.hops.find(({ where }) => where === 'wire')?.atNs;
  /** Trace time of a step: the frame's own time leads back to the first step. */
  const timeOf = (ns: number | undefined): number | undefined =>
    ns === undefined || at === undefined || frameHop === undefined ? undefined : at - frameHop + ns;
  return (
    <section class="pane story" aria-labelledby="story-title">
      <h2 id="story-title">Story</h2>
      <h3>{told.title}</h3>
      {told.notes.map((note) => (
        <p class="note" key={note}>
          {note}
        </p>
      ))}
      <ol class="hops">
        {told.hops.map((step, i) => (
          <li key={i} aria-current={hop.value === i ? 'step' : undefined} class={`who ${step.where.split(' ')[0]}`}>
            <button
              type="button"
              class="step"
              onClick={() => {
                hop.value = i;
                void select(step.refs[0], timeOf(step.atNs));
              }}
            >
              <time>{step.atNs === undefined ? '' : `+${(step.atNs / 1000).toFixed(3)} µs`}</time> <b>{step.where}</b> {step.text}
            </button>
            {step.strength !== 'proven' && <em class="strength">{step.strength}</em>}
            <Evidence refs={step.refs} ns={timeOf(step.atNs)} />
          </li>
        ))}
      </ol>
      <Sentences title="Through which page did the request go?" list={told.route} />
      <Sentences title="Why a guest-physical address, and who translates?" list={told.translation} />
      <Sentences title="Where did the time go?" list={told.time} />
      <Sentences title="What the files do not show" list={told.unknowns} />
      <Sentences title="How the files were joined" list={told.joins} />
    </section>
  );
}

function Cell({ claim }: { readonly claim: Claim<string> }) {
  return (
    <td title={claim.why} class={claim.value === undefined ? 'unknown' : ''}>
      {claim.refs[0] === undefined ? (
        (claim.value ?? 'unknown')
      ) : (
        <button type="button" class="address" onClick={() => void select(claim.refs[0])}>
          {claim.value ?? 'unknown'}
        </button>
      )}
    </td>
  );
}

export function Addresses() {
  const told = story.value;
  return (
    <section class="pane addresses" aria-labelledby="addresses-title">
      <h2 id="addresses-title">Address spaces</h2>
      {told === undefined ? (
        <p class="note">The addresses of a packet, in each space that knows it.</p>
      ) : (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th />
                <th>guest-virtual</th>
                <th>guest-physical</th>
                <th>machine frame</th>
                <th>device model's mapping</th>
              </tr>
              <tr class="tables" aria-label="who translates">
                <th />
                <th>— guest's page tables →</th>
                <th>— p2m (EPT) →</th>
                <th />
                <th>map cache, foreign map</th>
              </tr>
            </thead>
            <tbody>
              {told.addresses.map((row) => (
                <tr key={row.what}>
                  <th scope="row">{row.what}</th>
                  <Cell claim={row.gva} />
                  <Cell claim={row.gpa} />
                  <Cell claim={row.mfn} />
                  <Cell claim={row.mapping} />
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
