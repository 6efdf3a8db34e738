// The picture that comes with the project, for whoever has no photo at hand: sent like any other.
import { byId } from "./dom.js";
import { toast } from "./toast.js";

/** @param {(files: File[]) => void} send */
export function offerSample(send) {
  const button = /** @type {HTMLButtonElement} */ (byId("try-sample"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const answer = await fetch(button.dataset.url ?? "");
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      send([new File([await answer.blob()], "sample.jpg", { type: "image/jpeg" })]);
    } catch (error) {
      toast(`The sample picture could not be had: ${/** @type {Error} */ (error).message}`);
    } finally {
      button.disabled = false;
      button.focus();
    }
  });
}
