// A phone in a browser, without the browser: SIP.js over a WebSocket, with calls whose media are described and never sent.
//
// Arguments: the folder of the modules, the URL of the node, and a user of sip.example. Commands come as lines at standard input; what
// happens is told as lines at standard output. A call that comes in is taken at once.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules, server, user] = process.argv.slice(2);
const module = (path) => import(pathToFileURL(`${modules}/node_modules/${path}`));
// What a browser has by itself.
globalThis.WebSocket = (await module('ws/wrapper.mjs')).default;
const { Inviter, Messager, Registerer, RegistererState, SessionState, UserAgent } = await module('sip.js/lib/index.js');

const tell = (...words) => console.log(words.join(' '));
const uri = (text) => UserAgent.makeURI(text);

const DESCRIPTION = 'v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n';

/** Stands for the media of one call. */
const media = () => ({
  close() {},
  hasDescription: (contentType) => contentType === 'application/sdp',
  getDescription: async () => ({ body: DESCRIPTION, contentType: 'application/sdp' }),
  setDescription: async () => {},
  rollbackDescription: async () => {},
  sendDtmf: () => false,
});

let session;

/** Has a call tell what becomes of it. */
function watch(call) {
  session = call;
  call.delegate = { onInvite: () => tell('reinvited'), onAck: () => tell('acknowledged') };
  call.stateChange.addListener((state) => {
    if (state === SessionState.Established) tell('established');
    if (state === SessionState.Terminated) tell('terminated');
  });
}

const agent = new UserAgent({
  uri: uri(`sip:${user}@sip.example`),
  transportOptions: { server },
  sessionDescriptionHandlerFactory: media,
  logLevel: 'error',
  delegate: {
    onInvite(call) {
      tell('called by', call.remoteIdentity.uri.toString());
      watch(call);
      call.accept();
    },
    onMessage(message) {
      tell('message', message.request.body);
      message.accept();
    },
    onDisconnect: (error) => tell('disconnected', error ? 'with an error' : ''),
  },
});
const registerer = new Registerer(agent);
registerer.stateChange.addListener((state) => {
  if (state === RegistererState.Registered) tell('registered');
  if (state === RegistererState.Unregistered) tell('unregistered');
});

/** Tells the status of the answer to a request. */
const answered = {
  onAccept: (response) => tell('answer', response.message.statusCode),
  onReject: (response) => tell('answer', response.message.statusCode),
};

const commands = {
  register: () => registerer.register({ requestDelegate: answered }),
  unregister: () => registerer.unregister({ requestDelegate: answered }),
  call(target) {
    const call = new Inviter(agent, uri(target));
    watch(call);
    return call.invite({ requestDelegate: answered });
  },
  reinvite: () => session.invite({ requestDelegate: answered }),
  bye: () => session.bye({ requestDelegate: answered }),
  message: (target, ...words) => new Messager(agent, uri(target), words.join(' ')).message({ requestDelegate: answered }),
  close: () => agent.transport.disconnect(),
};

await agent.start();
tell('connected');
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(' ');
  // Nothing is waited for here, so that the end of the input always ends the phone.
  Promise.resolve(commands[command](...rest)).catch((error) => tell('failed:', error.message));
}
process.exit();
