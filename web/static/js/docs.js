// The API documentation: Swagger UI on the service's own OpenAPI document.
import { isDark } from "./theme.js";

const colour = () => document.documentElement.classList.toggle("dark-mode", isDark());
document.addEventListener("themechange", colour);
colour();

const place = document.getElementById("swagger-ui");
// The bundle is a classic script with a global; both scripts are deferred and run in the order of the page.
const { SwaggerUIBundle } = /** @type {any} */ (window);
if (place && SwaggerUIBundle) {
  SwaggerUIBundle({
    url: place.dataset.url,
    domNode: place,
    deepLinking: true,
    validatorUrl: null,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
}
