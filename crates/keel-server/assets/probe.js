// The probe page: connects to this server and shows what happens.
