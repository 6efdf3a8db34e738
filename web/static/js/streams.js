// The list of live streams: the form says what is wrong without leaving the page.
import { ask, url } from "./api.js";
import { byId } from "./dom.js";

const form = /** @type {HTMLFormElement} */ (byId("stream-form"));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = byId("form-error");
  place.textContent = "";
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value !== "") fields.set(name, String(value));
  try {
    const stream = await ask("/streams", { method: "POST", body: fields });
    location.assign(url(`/streams/${stream.id}`));
  } catch (error) {
    place.textContent = /** @type {Error} */ (error).message;
  }
});
