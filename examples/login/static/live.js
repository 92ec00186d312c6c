// Shows the log-in at once where this device was ended from another one.
const events = new EventSource("/events");
events.addEventListener("ended", () => {
  events.close();
  location.reload();
});
