// A customer's page with React. Its server gives the launch token.

import { useEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { NearcastPlayer } from '@nearcast/react';

function Page({ play, app }) {
  const player = useRef(null);
  const [token, setToken] = useState(null);
  const [open, setOpen] = useState(true);
  const [state, setState] = useState('');
  const [said, setSaid] = useState('');

  useEffect(() => {
    fetch('/launch-token', { method: 'POST' }).then((answer) => answer.text()).then(setToken);
  }, []);

  return (
    <main>
      <h1>An app in a React page</h1>
      {open && token && (
        <NearcastPlayer
          ref={player} src={play} app={app} token={token}
          onState={(detail) => setState(detail.state)}
          onMessage={({ data }) => setSaid(JSON.stringify(data))}
          onEnded={({ reason }) => setState(`ended: ${reason}`)}
        />
      )}
      <p>
        <button id="hello" disabled={state !== 'streaming'} onClick={() => player.current.send({ hello: 'app' })}>Say hello</button>
        {' '}
        <button id="away" onClick={() => setOpen(false)}>Put it away</button>
      </p>
      <p id="state">{state}</p>
      <output id="said">{said}</output>
    </main>
  );
}

const root = document.querySelector('#root');
createRoot(root).render(<Page {...root.dataset} />);
