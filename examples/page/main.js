// Boots the guest that comes with the library when the button is pressed. The server maps xenolith/ to the package.
import { Machine, tinyGuest } from './xenolith/library/index.js';

const decoder = new TextDecoder();
document.querySelector('#run').addEventListener('click', async () => {
  const machine = new Machine({ ...tinyGuest(), nics: [{ model: 'rtl8139' }] });
  // Text of a guest is text: it never becomes HTML.
  machine.on('console', (bytes) => document.querySelector('#console').append(decoder.decode(bytes, { stream: true })));
  machine.on('end', ({ text }) => document.querySelector('#console').append(`(${text})`));
  await machine.run();
});
