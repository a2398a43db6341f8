// Another phone in a browser, without the browser: JsSIP over a WebSocket. It makes no calls, whose media it would need.
//
// Arguments, commands and what it tells are those of sipjs.mjs. It goes by a Route that it makes of the URL.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules, server, user] = process.argv.slice(2);
const module = async (path) => (await import(pathToFileURL(`${modules}/node_modules/${path}`))).default;
// What a browser has by itself.
globalThis.WebSocket = await module('ws/wrapper.mjs');
const JsSIP = await module('jssip/lib/JsSIP.js');

const tell = (...words) => console.log(words.join(' '));

const agent = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(server)],
  uri: `sip:${user}@sip.example`,
  register: false,
  use_preloaded_route: true,
});
const connected = new Promise((resolve) => agent.on('connected', resolve));
agent.on('disconnected', () => tell('disconnected'));
agent.on('registered', () => tell('registered'));
agent.on('unregistered', () => tell('unregistered'));
agent.on('registrationFailed', ({ cause }) => tell('not registered:', cause));
agent.on('newMessage', ({ originator, message, request }) => {
  if (originator === 'remote') {
    tell('message', request.body);
    message.accept();
  }
});
const answered = {
  succeeded: ({ response }) => tell('answer', response.status_code),
  failed: ({ response, cause }) => tell('answer', response ? response.status_code : cause),
};

const commands = {
  register: () => agent.register(),
  unregister: () => agent.unregister(),
  message: (target, ...words) => agent.sendMessage(target, words.join(' '), { eventHandlers: answered }),
  options: (target) => agent.sendOptions(target, '', { eventHandlers: answered }),
  close: () => agent.stop(),
};

agent.start();
await connected;
tell('connected');
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(' ');
  commands[command](...rest);
}
process.exit();
