/** The live machine: console and controls. */
import { Terminal } from '@xterm/xterm';
import { useEffect, useRef } from 'preact/hooks';
import {
  canPing,
  chosen,
  driver,
  drivers,
  exits,
  go,
  guest,
  guests,
  linkUp,
  onConsole,
  pause,
  ping,
  refresh,
  setLink,
  setSpeed,
  slowness,
  start,
  step,
  TINY_DRIVER,
  type,
} from './machine.ts';
import { machineState } from './state.ts';

function Console() {
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const terminal = new Terminal({
      cols: 80,
      rows: 14,
      convertEol: true,
      fontSize: 13,
      screenReaderMode: true,
      theme: dark
        ? { background: '#10141a', foreground: '#d8dee6' }
        : { background: '#ffffff', foreground: '#1c2430', cursor: '#1c2430' },
    });
    terminal.open(place.current!);
    terminal.onData(type);
    // What a guest writes can do what a terminal does, and no more.
    onConsole((bytes) => terminal.write(bytes));
    return () => terminal.dispose();
  }, []);
  return <section class="console" ref={place} aria-label="Console of the guest" />;
}

export function Live() {
  const state = machineState.value;
  const alive = state === 'running' || state === 'paused';
  return (
    <section class="pane live" aria-labelledby="live-title">
      <div class="head">
        <h2 id="live-title">Live machine</h2>
        <output aria-live="polite" class={`state ${state}`}>
          {state === 'none' ? 'starting' : state}
        </output>
        <small>{exits.value} exits</small>
      </div>
      <div class="controls">
        {state === 'running' ? (
          <button type="button" onClick={() => void pause()}>
            Pause
          </button>
        ) : (
          <button type="button" class="main" onClick={() => void go()}>
            {state === 'paused' ? 'Go on' : 'Run'}
          </button>
        )}
        <button type="button" disabled={state === 'running'} onClick={() => void step(1)} title="Run to the next VM exit">
          Step
        </button>
        <button type="button" disabled={state === 'running'} onClick={() => void step(20)} title="Run over twenty VM exits">
          Step 20
        </button>
        <button type="button" onClick={() => void start()}>
          Reset
        </button>
        <button type="button" disabled={!canPing.value} onClick={() => void ping()} title="Send one ping">
          Ping
        </button>
        <button type="button" disabled={state !== 'running'} onClick={() => void refresh()} title="Read the records so far">
          Show packets
        </button>
        <label class="cable">
          <input
            type="checkbox"
            checked={linkUp.value}
            disabled={!alive}
            onChange={(e) => void setLink(e.currentTarget.checked)}
          />{' '}
          cable
        </label>
      </div>
      <div class="controls">
        <label>
          Guest{' '}
          <select value={guest.value} onChange={(e) => void ((guest.value = e.currentTarget.value), start())}>
            {guests.value.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Driver{' '}
          <select
            value={chosen.value.isTiny ? TINY_DRIVER : driver.value}
            disabled={chosen.value.isTiny}
            onChange={(e) => void ((driver.value = e.currentTarget.value), start())}
          >
            {drivers.map(({ driver: name, model }) => (
              <option key={name} value={name}>
                {name} ({model})
              </option>
            ))}
          </select>
        </label>
        <label>
          Speed{' '}
          <input
            type="range"
            min="0"
            max="6"
            step="1"
            value={6 - slowness.value}
            aria-valuetext={slowness.value === 0 ? 'as fast as it goes' : `one ${10 ** slowness.value}th of real time`}
            onInput={(e) => void setSpeed(6 - Number(e.currentTarget.value))}
          />{' '}
          <small>{slowness.value === 0 ? 'full' : `1 : ${(10 ** slowness.value).toLocaleString('en')}`}</small>
        </label>
      </div>
      <Console />
    </section>
  );
}
