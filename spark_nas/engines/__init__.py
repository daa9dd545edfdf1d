"""Where jobs run: in process, in virtual time, as Spark rounds, or in Spark worker sessions."""
