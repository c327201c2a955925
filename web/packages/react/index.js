'use client'; // for frameworks that render parts of a page on a server alone

// @nearcast/react: <nearcast-player> as a component. It adds nothing to the element but what React
// does not do for custom elements in all of its versions: listeners, and properties that are objects.
// It is safe on a server: the element is loaded in the browser, when the component is there.

import { createElement, forwardRef, useEffect, useImperativeHandle, useLayoutEffect, useRef } from 'react';

// A server has no layout.
const useNow = typeof window === 'undefined' ? useEffect : useLayoutEffect;

const EVENTS = { state: 'onState', queue: 'onQueue', stats: 'onStats', message: 'onMessage', ended: 'onEnded' };

export const NearcastPlayer = forwardRef(function NearcastPlayer(props, ref) {
  const { app, autofocus, children, className, home, lang, onEnded, onMessage, onQueue, onState, onStats, params, src, token, words, ...rest } = props;
  const element = useRef(null);
  const handlers = useRef({});
  const heard = useRef(null); // the element that has our listeners
  useImperativeHandle(ref, () => element.current, []);

  // The listeners are there before the element can say anything, and as long as it is: while Suspense
  // hides the component, and for the end of the session when it is unmounted. The handlers are those
  // of the last render.
  useNow(() => { handlers.current = { onEnded, onMessage, onQueue, onState, onStats }; });
  useNow(() => {
    const { current: node } = element;
    if (heard.current === node) return;
    heard.current = node;
    for (const [type, name] of Object.entries(EVENTS)) {
      node.addEventListener(type, (event) => handlers.current[name]?.(event.detail, event));
    }
  }, []);

  // What React makes of a prop that goes away is not the same in all versions.
  useNow(() => {
    const attributes = { app, autofocus: autofocus ? '' : null, home, lang, src };
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null) element.current.removeAttribute(name);
      else element.current.setAttribute(name, value);
    }
  }, [app, autofocus, home, lang, src]);

  // A token as an attribute would stand in the document. An object with the same content is no
  // change: most pages write these objects anew with each render.
  useNow(() => { element.current.token = token ?? null; }, [token]);
  useChanged(params, (value) => { element.current.params = value ?? null; });
  useChanged(words, (value) => { element.current.words = value ?? {}; });

  useNow(() => {
    import('@nearcast/player').catch((error) => console.error('@nearcast/react: the player could not be loaded', error));
  }, []);

  return createElement('nearcast-player', { ...rest, class: className, ref: element }, children);
});

// useChanged calls set where a value is another one than at the last render; at first only where
// there is one.
function useChanged(value, set) {
  const text = JSON.stringify(value);
  const first = useRef(true);
  useNow(() => {
    if (!first.current || value) set(value);
    first.current = false;
  }, [text]);
}
