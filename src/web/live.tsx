/** The live machine: console and controls. */
import { Terminal } from '@xterm/xterm';
import { useEffect, useRef } from 'preact/hooks';
import {
  exits,
  go,
  guest,
  linkUp,
  onConsole,
  pause,
  setLink,
  setSpeed,
  slowness,
  start,
  step,
  type,
  type Guest,
} from './machine.ts';
import { machineState } from './state.ts';

function Console() {
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const terminal = new Terminal({
      cols: 72,
      rows: 12,
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
      <h2 id="live-title">Live machine</h2>
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
        <label>
          Guest{' '}
          <select value={guest.value} onChange={(e) => void ((guest.value = e.currentTarget.value as Guest), start())}>
            <option value="ping">pings the host</option>
            <option value="answer">answers pings</option>
          </select>
        </label>
        <label>
          <input
            type="checkbox"
            checked={linkUp.value}
            disabled={!alive}
            onChange={(e) => void setLink(e.currentTarget.checked)}
          />{' '}
          Cable
        </label>
        <label>
          Slowness{' '}
          <input
            type="range"
            min="0"
            max="6"
            step="1"
            value={slowness.value}
            aria-valuetext={slowness.value === 0 ? 'as fast as it goes' : `one ${10 ** slowness.value}th of real time`}
            onInput={(e) => void setSpeed(Number(e.currentTarget.value))}
          />
        </label>
        <output aria-live="polite">
          {state === 'none' ? 'not started' : state}, {exits.value} exits
        </output>
      </div>
      <Console />
    </section>
  );
}
