/** Registers: of the live machine where it stands, of its run at the selected moment, or as a file's accesses show them. */
import { signal } from '@preact/signals';
import type { RegisterReading } from '../library/index.ts';
import { hex } from './bytes.tsx';
import { cpu, lapic, nic, nicBefore } from './machine.ts';
import { timeText } from './paint.ts';
import { machineState, seen, select, selection, source } from './state.ts';
import { before, canTravel, goToWriter, isBusy, standing, travelStep, who, whoWroteRegister } from './travel.ts';

function Rows({
  registers,
  old,
  canAsk,
}: {
  readonly registers: readonly RegisterReading[];
  readonly old: ReadonlyMap<string, number>;
  readonly canAsk: boolean;
}) {
  return (
    <table>
      <thead>
        <tr>
          <th>offset</th>
          <th>register</th>
          <th>value</th>
          <th>fields</th>
          {canAsk && <th />}
        </tr>
      </thead>
      <tbody>
        {registers.map(({ name, dataSheet, offset, width, value, summary: fields, doc }) => {
          const was = old.get(name);
          const changed = was !== undefined && was !== value;
          return (
            <tr key={`${name}@${offset}`} class={changed ? 'changed' : ''} title={`${dataSheet}: ${doc}`}>
              <td>0x{hex(offset, 2)}</td>
              <td>{name}</td>
              <td>
                0x{hex(value, width * 2)}
                {changed && <small> was 0x{hex(was)}</small>}
              </td>
              <td>{fields}</td>
              {canAsk && (
                <td>
                  <button type="button" class="ask" title={`Who wrote ${name}?`} onClick={() => void whoWroteRegister(name)}>
                    who?
                  </button>
                </td>
              )}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** What the driver wrote and read, where there is nothing but files. */
function Seen() {
  const { ns } = selection.value;
  if (seen.value.length === 0)
    return <p class="note">Until the selected moment the driver has not touched a register that is known.</p>;
  return (
    <table>
      <caption>As the driver's last accesses show them{ns === undefined ? '' : ` at ${timeText(ns)}`}</caption>
      <thead>
        <tr>
          <th>register</th>
          <th>value</th>
          <th>fields</th>
          <th>seen</th>
        </tr>
      </thead>
      <tbody>
        {seen.value.map(({ device, name, value, width, fields, doc, dir, ns: at, ref, before: was }) => (
          <tr key={`${device} ${name}`} class={ns !== undefined && Math.abs(ns - at) < 1 ? 'changed' : ''} title={doc}>
            <td>
              {device} {name}
            </td>
            <td>
              0x{hex(value, width * 2)}
              {was !== undefined && was !== value && <small> was 0x{hex(was)}</small>}
            </td>
            <td>{fields}</td>
            <td>
              <button type="button" class="address" onClick={() => void select(ref, at)}>
                {dir === 'write' ? 'written' : 'read'} {timeText(at)}
              </button>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const chip = signal<'nic' | 'cpu' | 'lapic'>('nic');

function Answer() {
  const asked = who.value;
  if (asked === undefined) return null;
  const { what, answer } = asked;
  return (
    <p class="who" role="status">
      <b>Who wrote {what}?</b> {answer === undefined ? 'Nobody has.' : `The ${answer.by}: ${answer.text}.`}{' '}
      {answer !== undefined && answer.by !== 'domain builder' && (
        <button type="button" onClick={goToWriter}>
          go there
        </button>
      )}
    </p>
  );
}

export function Registers() {
  // A machine that was stopped by hand shows what it is now; else its run is shown at the selected moment.
  const isStopped = machineState.value === 'paused' && nic.value !== undefined;
  const travelled = !isStopped && source.value !== 'files' ? standing.value : undefined;
  const state = isStopped ? nic.value : travelled?.nic;
  const general = isStopped ? cpu.value : travelled?.cpu;
  const apic = isStopped ? lapic.value : (travelled?.lapic ?? []);
  const canAsk = travelled !== undefined;
  return (
    <section class="pane registers" aria-labelledby="registers-title" aria-busy={isBusy.value}>
      <div class="head">
        <h2 id="registers-title">Registers</h2>
        {travelled !== undefined && (
          <span class="moment">
            exit {travelled.at.exits}, instruction {travelled.at.instructions}
          </span>
        )}
      </div>
      {canTravel.value && !isStopped && travelled !== undefined && (
        <fieldset class="controls" aria-label="Go to and fro in the run">
          {(['exit', 'interrupt', 'dma', 'instruction'] as const).map((of) => (
            <span key={of} class="pair">
              <button type="button" aria-label={`back by one ${of}`} onClick={() => void travelStep(of, -1)}>
                ◀
              </button>
              {of === 'dma' ? 'DMA' : of}
              <button type="button" aria-label={`on by one ${of}`} onClick={() => void travelStep(of, 1)}>
                ▶
              </button>
            </span>
          ))}
        </fieldset>
      )}
      {canAsk && <Answer />}
      {state === undefined ? (
        <Seen />
      ) : (
        <>
          <div class="tabs" role="tablist" aria-label="Whose registers">
            {(['nic', 'cpu', 'lapic'] as const).map((name) => (
              <button
                type="button"
                role="tab"
                key={name}
                aria-selected={chip.value === name}
                onClick={() => void (chip.value = name)}
              >
                {name === 'nic' ? state.model : name === 'cpu' ? 'vCPU' : 'local APIC'}
              </button>
            ))}
          </div>
          {chip.value === 'nic' && (
            <Rows registers={state.registers} old={isStopped ? nicBefore.value : before.value} canAsk={canAsk} />
          )}
          {chip.value === 'lapic' && <Rows registers={apic} old={new Map()} canAsk={false} />}
          {chip.value === 'cpu' && general !== undefined && (
            <dl>
              {Object.entries({ ...general.general, ...general.control }).map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>0x{hex(value, 16)}</dd>
                </div>
              ))}
              <div>
                <dt>rflags</dt>
                <dd>{general.flags.join(' ')}</dd>
              </div>
              <div>
                <dt>mode</dt>
                <dd>
                  {general.mode}, CPL {general.cpl}
                </dd>
              </div>
            </dl>
          )}
        </>
      )}
    </section>
  );
}
