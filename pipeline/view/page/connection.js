// The WebSocket to the page's own server. It reconnects by itself and reports a lost connection.
const AGAIN_MS = 1000;

export const connect = (heard, lost) => {
  let socket;
  const open = () => {
    socket = new WebSocket(new URL("stream", location.href.replace(/^http/, "ws")));
    socket.onmessage = ({ data }) => heard(JSON.parse(data));
    socket.onclose = () => {
      lost();
      setTimeout(open, AGAIN_MS);
    };
  };
  open();
  return (command, value = null) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: command, value }));
  };
};

// Uploads a file; returns an error message, or "".
export const upload = async (file, mostBytes) => {
  if (file.size > mostBytes) return `${file.name}: expected at most ${mostBytes / 1e6} MB (--upload-mb)`;
  try {
    const answer = await fetch(`measurement?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    return answer.ok ? "" : (await answer.json()).says;
  } catch {
    return `${file.name}: upload failed`;
  }
};
