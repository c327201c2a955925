// A page as a customer writes it. That it compiles shows what the types know; that a wrong use does
// not compile shows that they say something.
import { NearcastPlayer } from '@nearcast/player';
import type { NearcastPlayerEventMap, NearcastStats } from '@nearcast/player';
import { NearcastPlayer as Component } from '@nearcast/react';
import type { NearcastPlayerElement } from '@nearcast/react';
import { createElement, createRef } from 'react';

const player: NearcastPlayer = document.querySelector('nearcast-player')!;
player.src = 'https://play.example.com';
player.app = 'viewer';
player.token = null;
player.params = { model: 'turbine', parts: 3 };
player.words = { play: 'Go' };
player.addEventListener('state', ({ detail }) => {
  const before: string = detail.before;
  if (detail.state === 'streaming') player.send({ hello: ['app', 1, null] }).then(() => before);
  // @ts-expect-error: no such state
  if (detail.state === 'playing') player.end();
});
player.addEventListener('queue', ({ detail }) => `${detail.position} ${detail.estimateMS.toFixed()} ${detail.paused}`);
player.addEventListener('stats', ({ detail }: NearcastPlayerEventMap['stats']) => show(detail));
player.addEventListener('ended', ({ detail }) => detail.exitCode?.toFixed() ?? detail.reason);
player.addEventListener('message', ({ detail }) => console.log(detail.data));
player.addEventListener('click', () => player.play());
player.send(new Uint8Array(3));
player.fullscreen().catch(() => {});
// @ts-expect-error: only for reading
player.state = 'ready';
// @ts-expect-error: nothing that JSON can say
player.send(() => {});

function show({ fps, pingMS }: NearcastStats) {
  // @ts-expect-error: it may be null
  return fps + pingMS.toFixed();
}

const ref = createRef<NearcastPlayerElement>();
createElement(Component, {
  app: 'viewer', src: 'https://play.example.com', token: 'a', className: 'wide', id: 'one', ref,
  onState: ({ state, session }) => `${state} ${session?.site}`,
  onEnded: ({ reason }, event) => event.target === ref.current && reason === 'lost',
}, createElement('section', { slot: 'ready' }));
ref.current?.end();
// @ts-expect-error: an app is needed
createElement(Component, { src: 'https://play.example.com' });
